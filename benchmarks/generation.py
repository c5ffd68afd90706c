"""Sampling: our `chat_model.generation.sample` against a loop of ``model.generate``, one prompt after the other.

``python -m benchmarks.generation [--num-prompts 64] [--max-new-tokens 64]``. Tokens are counted as they were generated,
up to and with the end of the answer; both sides draw from the model's full distribution.
"""

import argparse
import time

import torch

from benchmarks.comparison import Comparison, compare_speeds, show
from benchmarks.peers.plain_generate import draw_one
from benchmarks.workload import make_conversations, make_model
from chat_model.conversation import Message
from chat_model.generation import sample

Prompt = tuple[Message, ...]


def run(num_prompts: int, max_new_tokens: int) -> Comparison:
    """Generate for the same prompts both ways and return tokens a second."""
    conversations = make_conversations(num_prompts)
    model, tokenizer = make_model(conversations)
    prompts = [row.messages[:-1] for row in conversations]
    both = {"ours": _ours, "peer": _peer}
    for generate in both.values():  # a first call warms up allocator and kernels
        generate(model, tokenizer, prompts[:2], 4)
    speeds = {}
    for name, generate in both.items():
        began = time.perf_counter()
        tokens = generate(model, tokenizer, prompts, max_new_tokens)
        speeds[name] = {"tokens_per_second": round(tokens / (time.perf_counter() - began), 1)}
    return compare_speeds("generation", speeds["ours"], speeds["peer"])


def _ours(model, tokenizer, prompts: list[Prompt], max_new_tokens: int) -> int:
    samples = sample(model, tokenizer, prompts, max_new_tokens=max_new_tokens, progress=False)
    return sum(map(len, samples.response_ids))


@torch.no_grad()
def _peer(model, tokenizer, prompts: list[Prompt], max_new_tokens: int) -> int:
    torch.manual_seed(0)
    return sum(len(draw_one(model, tokenizer, prompt, max_new_tokens)) for prompt in prompts)


def main() -> None:
    """Parse the command line, run and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-prompts", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    arguments = parser.parse_args()
    title = f"{arguments.num_prompts} prompts, up to {arguments.max_new_tokens} new tokens each"
    show(run(arguments.num_prompts, arguments.max_new_tokens), title)


if __name__ == "__main__":
    main()
