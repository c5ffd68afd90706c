"""The part of `benchmarks.reward_model` that scores: `RewardScorer` against a loop over single conversations.

The loop is what a user of transformers writes: render and tokenize one conversation by `apply_chat_template`, run the
classifier on it, take the score. Both start from messages, in one process with the same threads, and take turns; the
best of the turns counts. A scorer is asked for two things in this project: both answers of held-out pairs, when a
reward model is evaluated, and K samples a prompt, when rejection sampling chooses among them. The samples are answers
of the file, drawn with a seed for a quarter or a sixteenth of its prompts, so their lengths are those of real answers.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from chat_model.conversation import Message, PreferencePair, to_dicts
from reward_model.scoring import RewardScorer

Conversations = list[tuple[Message, ...]]
WORKLOADS = ("pairs", "8_samples", "32_samples")
_PAIRS = 64  # in each workload there are twice as many conversations
_TURNS = 3
_TOLERANCE = 1e-5


def compare_scoring(model: Any, tokenizer: Any, pairs: Sequence[PreferencePair]) -> dict[str, dict[str, float]]:
    """Return ``{workload: {"ours": conversations a second, "peer": …}}``; both sides give the same scores."""
    scorer = RewardScorer(model.eval(), tokenizer)
    return {name: _compare(scorer, conversations) for name, conversations in make_workloads(pairs[:_PAIRS]).items()}


def make_workloads(pairs: Sequence[PreferencePair]) -> dict[str, Conversations]:
    """Return as many conversations a workload as `pairs` have answers."""
    answers = [answer for pair in pairs for answer in (pair.chosen, pair.rejected)]
    return {
        "pairs": [pair.prompt + answer for pair in pairs for answer in (pair.chosen, pair.rejected)],
        "8_samples": _samples(pairs[::4], answers, 8),
        "32_samples": _samples(pairs[::16], answers, 32),
    }


def _samples(pairs: Sequence[PreferencePair], answers: Sequence[tuple[Message, ...]], count: int) -> Conversations:
    generator = random.Random(count)
    return [pair.prompt + generator.choice(answers) for pair in pairs for _ in range(count)]


def _compare(scorer: RewardScorer, conversations: Conversations) -> dict[str, float]:
    def peer() -> torch.Tensor:
        return _one_by_one(scorer.model, scorer.tokenizer, conversations)

    def ours() -> torch.Tensor:
        return scorer.score(conversations)

    torch.testing.assert_close(ours(), peer(), atol=_TOLERANCE, rtol=_TOLERANCE)  # and both are warm
    turns = [(_seconds(ours), _seconds(peer)) for _ in range(_TURNS)]
    return {
        side: len(conversations) / min(seconds)
        for side, seconds in zip(("ours", "peer"), zip(*turns, strict=True), strict=True)
    }


@torch.no_grad()
def _one_by_one(model: Any, tokenizer: Any, conversations: Conversations) -> torch.Tensor:
    scores = []
    for messages in conversations:
        inputs = tokenizer.apply_chat_template(to_dicts(messages), return_tensors="pt", return_dict=True)
        scores.append(model(**inputs.to(model.device)).logits[0].cpu())
    return torch.cat(scores)


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
