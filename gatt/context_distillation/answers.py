"""Which answers given under a preprompt are worth learning: those that the safety reward model prefers.

"Targeted" in section 4.2.4: on prompts that the model answers well already, distillation makes it vague.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from chat_model.conversation import Message, to_dicts
from chat_model.intervals import share
from gatt.reward import Score

Outcome = Literal["kept", "not_preferred", "no_answer"]


@dataclass(frozen=True)
class Answer:
    """A prompt, the model's plain answer to it, the one it gave under `preprompt`, and the safety score of either.

    Both are scored without the preprompt, the context that the trained model will answer in. An empty `distilled` was
    cut off, or had no words.
    """

    prompt: tuple[Message, ...]
    risk_category: str | None
    preprompt: str
    plain: str
    distilled: str
    plain_score: float = 0.0
    distilled_score: float = 0.0

    def outcome(self, targeted: bool) -> Outcome:
        """Return whether the answer is kept, and if not, why."""
        if not self.distilled.strip():
            return "no_answer"
        return "kept" if not targeted or self.distilled_score > self.plain_score else "not_preferred"

    def to_row(self) -> dict[str, Any]:
        """Return the conversation to train on, the preprompt not in it, and where it comes from."""
        messages = to_dicts([*self.prompt, Message("assistant", self.distilled)])
        scores = {"score": self.distilled_score, "plain_score": self.plain_score}
        source = {"preprompt": self.preprompt, "category": self.risk_category, "plain_answer": self.plain}
        return {"messages": messages, **source, **scores}


def score_answers(candidates: Sequence[Sequence[Answer]], score: Score) -> list[Answer]:
    """Return for every prompt the candidate of the highest safety score, with its own and the plain answer's score.

    Candidates without words lose to any other.
    """
    flat = [answer for answers in candidates for answer in answers]
    plain = list(score([_answered(answers[0], answers[0].plain) for answers in candidates]))
    distilled = iter(list(score([_answered(answer, answer.distilled) for answer in flat])))
    return [
        max((replace(each, plain_score=bar, distilled_score=next(distilled)) for each in answers), key=_rank)
        for answers, bar in zip(candidates, plain, strict=True)
    ]


def _answered(answer: Answer, text: str) -> list[Message]:
    return [*answer.prompt, Message("assistant", text)]


def _rank(answer: Answer) -> tuple[bool, float]:
    return bool(answer.distilled.strip()), answer.distilled_score


def summary(answers: Sequence[Answer], targeted: bool) -> dict[str, Any]:
    """Return the share of prompts whose distilled answer is kept, with its 95 % interval, and the mean scores."""
    kept = [answer for answer in answers if answer.outcome(targeted) == "kept"]
    return {
        "kept_share": share(len(kept), len(answers)),
        "mean_plain_score": _mean([answer.plain_score for answer in answers]),
        "mean_distilled_score": _mean([answer.distilled_score for answer in answers]),
        "mean_gain_of_kept": _mean([answer.distilled_score - answer.plain_score for answer in kept]),
    }


def summary_by_category(answers: Sequence[Answer], targeted: bool) -> dict[str, dict[str, Any]]:
    """Return `summary` for each risk category; prompts of none stand under "none"."""
    categories = sorted({answer.risk_category or "none" for answer in answers})
    groups = {name: [each for each in answers if (each.risk_category or "none") == name] for name in categories}
    return {name: summary(group, targeted) for name, group in groups.items()}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
