"""Checks of the two reward models that rejection sampling and PPO choose by: they score, and safety is P(safe)."""

from collections.abc import Sequence

from chat_model.check_up import CheckUp
from chat_model.conversation import Message, Prompt
from chat_model.errors import InputError
from reward_model.scoring import check_scorer, reads_as_safety

_ANSWERS = ("Yes.", "I cannot help with that, but here is something that I can do.")
_PROBES = 4


def check_reward_models(
    check_up: CheckUp, helpfulness: str, safety: str, prompts: Sequence[Prompt], allow_uncalibrated: bool = False
) -> None:
    """Check that both models load and score, and that the threshold means something on the safety scores."""
    answers = [Message("assistant", text) for text in _ANSWERS]
    texts = [(*prompt.prompt, answer) for prompt in prompts[:_PROBES] for answer in answers]
    for checkpoint in dict.fromkeys((helpfulness, safety)):
        if not check_up.waits_for(checkpoint, f"scores of {checkpoint}"):
            check_scorer(check_up, checkpoint, texts)
    if not allow_uncalibrated:
        check_calibrated(check_up, safety)


def check_calibrated(check_up: CheckUp, safety: str) -> None:
    """Check that sigma(score) of the safety model is P(safe), or will be once the step that trains it has run."""
    with check_up.check(
        "safety model calibrated",
        "scores without an origin: the safety branch of R_c may be taken always or never (section 3.2.3)",
        "train it with safety_loss_weight above 0, or run `rounds evaluate-rm` with --calibrate-on safety_labels",
    ):
        maker = check_up.maker_of(safety)
        will_be = maker is not None and float(maker.arguments.get("safety_loss_weight") or 0) > 0
        if not (will_be if maker else reads_as_safety(safety)):
            what = "will be trained without the safety loss" if maker else "is neither calibrated nor trained with it"
            raise InputError(f"{safety} {what}, so safety_threshold means nothing on its scores")
