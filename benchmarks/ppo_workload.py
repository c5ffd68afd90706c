"""What the PPO benchmarks train on: a tiny policy whose answers end at a known rate, a reward model and prompts.

Every word is a token, so text and tokens say the same to both sides: ours scores text, the peer scores token ids.
Nothing is downloaded; the same seed gives the same files.
"""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from chat_model.conversation import Message, Prompt
from chat_model.rows import write_rows
from chat_model.template import LLAMA2_TEMPLATE, render_prompt

PROMPT_TOKENS = 32
_SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
_MARKS = ("[INST]", "[/INST]")
FIRST_WORD = len(_SPECIAL_TOKENS) + len(_MARKS)  # the token id of w0
_BIAS = 1.0  # the value of the first hidden unit at every embedding, for the language head to read as a constant
_NEVER = -30.0  # weight on that constant which makes a token impossible


def make_tokenizer(vocab_size: int) -> Any:
    """Return a tokenizer of `vocab_size` tokens: specials, the marks of the Llama 2 template, and words w0, w1, …."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fixed = [*_SPECIAL_TOKENS, *_MARKS]
    words = [*fixed, *(f"w{number}" for number in range(vocab_size - len(fixed)))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pad, bos, eos, unknown = _SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        chat_template=LLAMA2_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def stop_probability(max_new_tokens: int, share: float) -> float:
    """Return the chance of a stop at every token with which answers are `share` of the bound long on average.

    The mean of a geometric length cut off at n is (1 - (1 - p)^n) / p; found by halving. A share of 1 is no stop.
    """
    low, high = 0.0, 1.0
    while share < 1 and high - low > 1e-9:
        middle = (low + high) / 2
        is_long = (1 - (1 - middle) ** max_new_tokens) / middle > share * max_new_tokens
        low, high = (middle, high) if is_long else (low, middle)
    return low


def write_workload(folder: Path, vocab_size: int, num_prompts: int, stop: float, seed: int = 0) -> None:
    """Write ``policy/``, ``reward/``, ``prompts.jsonl`` and, the same prompts as token ids, ``prompt_ids.json``.

    Args:
        stop: probability of the end token at every step; 0: answers end at the bound only.
    """
    tokenizer = make_tokenizer(vocab_size)
    torch.manual_seed(seed)
    for name, model in (("policy", _make_policy(tokenizer, stop)), ("reward", _make_reward_model(tokenizer))):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    prompts = _make_prompts(num_prompts, vocab_size, seed)
    write_rows(folder / "prompts.jsonl", (prompt.to_row() for prompt in prompts))
    token_ids = [render_prompt(tokenizer, prompt.prompt) for prompt in prompts]
    assert {len(ids) for ids in token_ids} == {PROMPT_TOKENS}
    (folder / "prompt_ids.json").write_text(json.dumps(token_ids))


def share_of_even_words(conversations: Sequence[Sequence[Message]]) -> torch.Tensor:
    """Return, for each conversation, which share of the answer's words have an even number [N]; 0 without words.

    Marks of the template, which a policy far from its start may say, are no words.
    """
    spoken = (conversation[-1].content.split() for conversation in conversations)
    answers = [[word for word in words if word not in _MARKS] for words in spoken]
    return torch.tensor([sum(int(word[1:]) % 2 == 0 for word in words) / max(1, len(words)) for words in answers])


def _config(tokenizer: Any, **options: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **options,
    )


@torch.no_grad()
def _make_policy(tokenizer: Any, stop: float) -> Any:
    """Return a random model that ends at each token with probability `stop`, and draws words about evenly."""
    from transformers import LlamaForCausalLM

    policy = LlamaForCausalLM(_config(tokenizer)).eval()
    policy.model.embed_tokens.weight[:, 0] = _BIAS
    head = policy.lm_head.weight
    head[:FIRST_WORD] = 0
    head[:FIRST_WORD, 0] = _NEVER
    if stop > 0:
        row = torch.randint(FIRST_WORD, len(tokenizer), (8, PROMPT_TOKENS))
        hidden = policy.model(row).last_hidden_state.flatten(0, 1)
        words = policy.lm_head(hidden).logsumexp(-1).mean()
        head[tokenizer.eos_token_id, 0] = (words + math.log(stop / (1 - stop))) / hidden[:, 0].mean()
    return policy


def _make_reward_model(tokenizer: Any) -> Any:
    from transformers import LlamaForSequenceClassification

    return LlamaForSequenceClassification(_config(tokenizer, num_labels=1)).eval()


def _make_prompts(count: int, vocab_size: int, seed: int) -> list[Prompt]:
    rng = random.Random(seed)
    length = PROMPT_TOKENS - 3  # <s> [INST] words [/INST]
    texts = (" ".join(f"w{rng.randrange(vocab_size - FIRST_WORD)}" for _ in range(length)) for _ in range(count))
    return [Prompt((Message("user", text),)) for text in texts]
