"""The pool of best samples. From V4 on the paper kept those of *all* earlier rounds, after some skills had regressed.

Earlier winners compete with this round's samples under this round's reward models; per prompt the best stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chat_model.conversation import Message, Prompt, to_dicts


@dataclass(frozen=True)
class Candidate:
    """A response to a prompt with its scores under the current reward models and where it came from."""

    prompt: Prompt
    response: str
    scores: dict[str, float]  # raw scores by reward model: helpfulness, safety
    reward: float  # R_c as a raw score
    provenance: dict[str, Any]  # model, temperature, round

    def to_row(self) -> dict[str, Any]:
        """Return the samples row of the file format."""
        row = {**self.prompt.to_row(), "response": self.response, "scores": self.scores, "reward": self.reward}
        return {**row, **self.provenance}

    def to_conversation_row(self) -> dict[str, Any]:
        """Return the conversation to fine-tune on: earlier assistant turns, written by others, get no loss."""
        context = [message.to_dict() for message in self.prompt.prompt]
        silent = [{**row, "train": False} if row["role"] == "assistant" else row for row in context]
        return {"messages": [*silent, Message("assistant", self.response).to_dict()]}


def best_per_prompt(candidates: Sequence[Candidate], keep: int = 1) -> list[Candidate]:
    """Return the `keep` candidates of highest reward for each prompt, prompts in order of first appearance.

    Identical responses to one prompt count once; of equal rewards the earlier candidate is kept.
    """
    by_prompt: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        rivals = by_prompt.setdefault(prompt_key(candidate.prompt), [])
        if candidate.response not in (rival.response for rival in rivals):
            rivals.append(candidate)
    ranked = (sorted(rivals, key=lambda candidate: -candidate.reward) for rivals in by_prompt.values())
    return [candidate for rivals in ranked for candidate in rivals[:keep]]


def prompt_key(prompt: Prompt) -> str:
    """Return what makes two prompts the same: their messages."""
    return str(to_dicts(prompt.prompt))
