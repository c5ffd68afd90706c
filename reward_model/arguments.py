"""What a reward-model stage is told beside TRL's `RewardConfig` and `ModelConfig`."""

from dataclasses import dataclass, field
from typing import Literal

from chat_model.conversation import RATINGS
from chat_model.errors import InputError, suggestion
from reward_model.mixing import MIXTURES, Mixture
from reward_model.ratings import margin_values


@dataclass
class RewardModelArguments:
    """What a reward model is trained and tested on, and the parts of its loss (section 3.2.2)."""

    preferences: list[str] = field(
        metadata={"help": "Preference files, folders or hub ids, of this and earlier rounds."}
    )
    test_preferences: list[str] | None = field(
        default=None, metadata={"help": "Held-out preferences; without them a share of the prompts is held out."}
    )
    test_share: float = field(default=0.1, metadata={"help": "Share of the prompts held out for the test."})
    mixture: Literal["helpfulness", "safety", "all"] | None = field(
        default=None,
        metadata={
            "help": "A mixture of the paper instead of domain and other_domain_share: helpfulness (all of it, and an "
            "equal amount of the rest), safety (90 %, and 10 % helpfulness), all."
        },
    )
    domain: Literal["helpfulness", "safety", "all"] = field(default="all", metadata={"help": "What the model judges."})
    other_domain_share: float = field(
        default=0.0, metadata={"help": "Share of the training mixture drawn from the other domain."}
    )
    allow_repeats: bool = field(
        default=False,
        metadata={"help": "Take pairs of the other domain again where they cannot fill a share."},
    )
    margin: str = field(
        default="small",
        metadata={"help": "Margin m(rating) of the loss: none, small, large, or a mapping {rating: value}."},
    )
    default_rating: str | None = field(
        default=None,
        metadata={
            "help": "Rating of the pairs that have none. Without it they are refused, but with margin: none, which "
            "needs no rating, they train, and are counted and tested as 'unrated'."
        },
    )
    safety_loss_weight: float = field(default=0.0, metadata={"help": "Weight of the safety cross-entropy."})
    earlier_model: str | None = field(
        default=None,
        metadata={"help": "Reward model of the round before; the new one is held against it on the held-out pairs."},
    )
    if_weaker: Literal["tell", "keep_earlier", "stop"] = field(
        default="tell",
        metadata={
            "help": "What to do when the new model ranks fewer of them right than the earlier one, beyond chance: warn "
            "and record it, leave the earlier model's weights in the output folder, or end with an error."
        },
    )
    on_too_long: Literal["drop", "error", "truncate_prompt"] = field(
        default="drop",
        metadata={
            "help": "Training pairs over max_length are dropped and counted, refused, or cut at the prompt's left."
        },
    )
    score_batch_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Tokens in a forward pass of the test, padding included; default: 2,048 on a CPU, 16,384 elsewhere."
        },
    )
    train_batch_tokens: int = field(
        default=4096,
        metadata={"help": "Tokens in a forward pass of training, padding included; for memory, the loss is the same."},
    )
    share_prompt: bool = field(
        default=True, metadata={"help": "A pair in one row, its prompt computed once, where the architecture can."}
    )

    def __post_init__(self) -> None:
        """Refuse values that no list of choices covers; `mixture` becomes `domain` and `other_domain_share`."""
        if self.mixture:
            self._take(self.mixture, MIXTURES[self.mixture])
        margin_values(self.margin)
        if self.default_rating is not None and self.default_rating not in RATINGS:
            hint = suggestion(self.default_rating, RATINGS)
            raise InputError(
                f"default_rating: found '{self.default_rating}'; expected one of {', '.join(RATINGS)}{hint}"
            )
        if not 0 < self.test_share < 1:
            raise InputError(f"test_share: found {self.test_share}; expected above 0 and below 1")
        if self.safety_loss_weight < 0:
            raise InputError(f"safety_loss_weight: found {self.safety_loss_weight}; expected 0 or above")

    def _take(self, name: str, mixture: Mixture) -> None:
        if self.domain not in ("all", mixture.domain) or self.other_domain_share not in (
            0.0,
            mixture.other_domain_share,
        ):
            raise InputError(
                f"mixture: {name} means domain: {mixture.domain}, other_domain_share: {mixture.other_domain_share}; "
                f"found domain: {self.domain}, other_domain_share: {self.other_domain_share}; leave those out"
            )
        self.domain, self.other_domain_share = mixture.domain, mixture.other_domain_share  # type: ignore[assignment]
