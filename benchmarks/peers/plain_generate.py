"""What a user of transformers writes to draw one response: tokenize the prompt, call `generate`, cut the prompt off."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from chat_model.conversation import Message
from chat_model.template import render_prompt


def draw_one(model: Any, tokenizer: Any, prompt: Sequence[Message], max_new_tokens: int) -> Tensor:
    """Return the token ids [T] of one response, drawn from the whole distribution."""
    ids = torch.tensor([render_prompt(tokenizer, prompt)])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=0,
        max_new_tokens=max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
    )
    return output[0, ids.shape[1] :]
