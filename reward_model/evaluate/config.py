"""What the evaluation of a reward model is told."""

from dataclasses import dataclass, field
from typing import Literal

from chat_model.errors import InputError

PAPER_THRESHOLD = 0.15  # of P(safe), section 3.2.3
PAPER_PRECISION = 0.89  # of the answers below it that were unsafe, on the paper's test set


@dataclass
class EvaluateConfig:
    """Which reward model, on which held-out pairs, and what to measure."""

    model: str = field(metadata={"help": "Reward model: a folder or hub id; a LoRA adapter may be unmerged."})
    preferences: list[str] = field(metadata={"help": "Held-out preference files, folders or hub ids."})
    output_dir: str = field(metadata={"help": "Folder to write to."})
    domain: Literal["helpfulness", "safety", "all"] = field(
        default="all", metadata={"help": "What the model judges: the headline numbers are over pairs of this domain."}
    )
    test_share: float | None = field(
        default=None,
        metadata={"help": "Use only the prompts that training with this `test_share` and `seed` held out."},
    )
    calibrate_on: Literal["safety_labels", "preferences"] | None = field(
        default=None,
        metadata={
            "help": "Fit scale and offset on half of the prompts, store them with the model (`calibration.json`, "
            "which RewardScorer applies) and evaluate on the other half."
        },
    )
    safety_threshold: float = field(default=PAPER_THRESHOLD, metadata={"help": "P(safe) below which PPO sees unsafe."})
    min_precision: float = field(
        default=PAPER_PRECISION,
        metadata={"help": "Precision of 'unsafe' that the recommended threshold has to reach."},
    )
    length_tolerance: float = field(
        default=0.1, metadata={"help": "Answers whose lengths differ by at most this share count as equally long."}
    )
    plots: bool = field(default=True, metadata={"help": "Also draw PNG plots."})
    dtype: str = field(default="float32", metadata={"help": "Precision of the model."})
    batch_tokens: int | None = field(
        default=None,
        metadata={"help": "Tokens in a forward pass, padding included; default: 2,048 on a CPU, 16,384 elsewhere."},
    )
    score_cache: str | None = field(default=None, metadata={"help": "Folder of scores kept between runs."})
    seed: int = field(default=0, metadata={"help": "Of the splits of prompts."})

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        for name in ("test_share", "safety_threshold", "min_precision"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise InputError(f"{name}: found {value}; expected above 0 and below 1")
        if self.length_tolerance < 0:
            raise InputError(f"length_tolerance: found {self.length_tolerance}; expected 0 or above")
