"""GAtt synthesis: dialogues held in step, a turn of all in one batch, against a loop of one dialogue after the other.

``python -m benchmarks.gatt [--num-dialogues 64] [--turns 6] [--max-new-tokens 24] [--repeats 3]``. Both sides say one
instruction before every question, to the same model and from its full distribution; the peer calls ``model.generate`` a
reply, as one would write it down from section 3.3. The best of the repeats counts, the two sides taking turns.
Seconds of the processor are measured beside those on the wall, which tell little where other programs run.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.comparison import Comparison, compare_speeds, show
from benchmarks.peers.plain_generate import draw_one
from benchmarks.workload import make_conversations, make_model
from gatt.constraints import Combination, Constraint
from gatt.dialogue import Plan, context, hold
from gatt.sampler import ModelSampler
from gatt.synthesize.selection import choose_best

_CONSTRAINT = Constraint("figure", "fox", ("the red fox lives near the river.",), "fox.")


def run(num_dialogues: int, turns: int, max_new_tokens: int, repeats: int = 1) -> Comparison:
    """Hold the same dialogues both ways and return dialogues a second."""
    conversations = make_conversations(num_dialogues * turns)
    model, tokenizer = make_model(conversations)
    questions = [row.messages[0].content for row in conversations]
    plans = [
        Plan(tuple(questions[start : start + turns]), Combination((_CONSTRAINT,)), _CONSTRAINT.verbose[0])
        for start in range(0, len(questions), turns)
    ]
    both = {"ours": _ours, "peer": _peer}
    for synthesize in both.values():  # a first call warms up allocator and kernels
        synthesize(model, tokenizer, plans[:2], 2)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in both}
    for _ in range(repeats):
        for name, synthesize in both.items():
            measured[name].append(
                _seconds(lambda synthesize=synthesize: synthesize(model, tokenizer, plans, max_new_tokens))
            )
    ours, peer = (_speeds(len(plans), measured[name]) for name in both)
    return compare_speeds("gatt", ours, peer)


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return what `work` took on the wall and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def _speeds(num_dialogues: int, seconds: Sequence[tuple[float, float]]) -> dict[str, float]:
    names = ("dialogues_per_second", "dialogues_per_processor_second")
    return {
        name: round(num_dialogues / min(each), 3) for name, each in zip(names, zip(*seconds, strict=True), strict=True)
    }


def _ours(model, tokenizer, plans: list[Plan], max_new_tokens: int) -> list[list[str]]:
    sampler = ModelSampler(model, tokenizer, max_new_tokens=max_new_tokens, across_processes=False, batch_tokens=65536)
    dialogues = hold(plans, "every_turn", sampler, choose_best, sampler.fits, max_attempts=4)
    assert all(dialogue.ended == "complete" for dialogue in dialogues), "a dialogue that ended early cost less"
    return [[reply.text for reply in dialogue.replies] for dialogue in dialogues]


@torch.no_grad()
def _peer(model, tokenizer, plans: list[Plan], max_new_tokens: int) -> list[list[str]]:
    torch.manual_seed(0)
    return [_hold_alone(model, tokenizer, plan, max_new_tokens) for plan in plans]


def _hold_alone(model, tokenizer, plan: Plan, max_new_tokens: int) -> list[str]:
    replies: list[str] = []
    while len(replies) < len(plan.questions):
        response = draw_one(model, tokenizer, context(plan, replies, "every_turn"), max_new_tokens)
        text = tokenizer.decode(response, skip_special_tokens=True).strip()
        replies.append(text or "…")
    return replies


def main() -> None:
    """Parse the command line, run and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-dialogues", type=int, default=64)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--max-new-tokens", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    title = (
        f"{arguments.num_dialogues} dialogues of {arguments.turns} turns, up to {arguments.max_new_tokens} new tokens"
    )
    show(run(arguments.num_dialogues, arguments.turns, arguments.max_new_tokens, arguments.repeats), title)


if __name__ == "__main__":
    main()
