"""One row a pair: prompt, chosen and rejected in one sequence, so that the prompt is computed once.

The row is ``[prompt | answer 1 | answer 2 …]``. The positions of every answer go on from the prompt, and the attention
mask lets an answer see the prompt and itself alone. So each answer's last hidden state, and its score, are those of the
dialogue in a row of its own; one forward pass of the body gives them all, and the head reads nothing but those states.
For a pair that saves one prompt out of two; for K samples of one prompt, all but one.

`probe` says whether an architecture can take such rows; what cannot (recurrent layers, kernels without a free mask)
gets a row an answer.
"""

import contextlib
import os
import random
from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput

from chat_model.last_layer import last_layer_only_at
from reward_model.answer_attention import answer_by_answer, layout_of

PADDING = -1  # the segment of padding; 0 is the prompt's, 1, 2, … the answers'
_TOLERANCES = {torch.float32: 1e-4}  # of a probe's scores, relative to the largest of them or to 1
_LOW_PRECISION_TOLERANCE = 5e-2
_MASKED_KINDS = {"full_attention", "sliding_attention"}


def common_prefix(dialogues: Sequence[Sequence[int]]) -> int:
    """Return how many leading tokens `dialogues` share, at least one token of each left out.

    It may end inside the prompt, where a template or tokenizer writes the border according to the answer, or inside the
    answers, where they begin alike: both are right, as equal prefixes have equal states.
    """
    shared = os.path.commonprefix([*dialogues])  # type: ignore[list-item]  # any sequences will do, not only paths
    return min(len(shared), min(map(len, dialogues)) - 1)


def row_length(dialogues: Sequence[Sequence[int]], prefix: int) -> int:
    """Return the tokens of the one row that holds `dialogues`, their first `prefix` tokens once."""
    return prefix + sum(len(dialogue) - prefix for dialogue in dialogues)


def one_row_each(
    groups: Sequence[Sequence[Sequence[int]]], prefixes: Sequence[int], pad_token_id: int, multiple: int = 1
) -> dict[str, Tensor]:
    """Lay out groups of up to n dialogues, one row a group.

    Args:
        groups: the dialogues of each row, as token ids.
        prefixes: the common prefix of each group.
        pad_token_id: fills the rows on the right.
        multiple: the width is rounded up to a multiple of this.

    Returns:
        ``input_ids``, ``position_ids`` and ``segments`` [batch, time], and ``ends`` [batch, n], the index of each
        dialogue's last token, -1 where a group has fewer than n.
    """
    width = max(row_length(group, prefix) for group, prefix in zip(groups, prefixes, strict=True))
    shape = (len(groups), -(-width // multiple) * multiple)
    batch = {"input_ids": torch.full(shape, pad_token_id), "position_ids": torch.zeros(shape, dtype=torch.long)}
    batch |= {
        "segments": torch.full(shape, PADDING),
        "ends": torch.full((len(groups), max(map(len, groups))), -1),
    }
    for row, (group, prefix) in enumerate(zip(groups, prefixes, strict=True)):
        _fill(batch, row, group, prefix)
    return batch


def _fill(batch: dict[str, Tensor], row: int, group: Sequence[Sequence[int]], prefix: int) -> None:
    """Write one group into its row: the first dialogue whole, the others without the prefix."""
    begin = 0
    for number, dialogue in enumerate(group):
        first = prefix if number else 0
        end = begin + len(dialogue) - first
        batch["input_ids"][row, begin:end] = torch.tensor(dialogue[first:])
        batch["position_ids"][row, begin:end] = torch.arange(first, len(dialogue))
        batch["segments"][row, begin:end] = number + 1
        batch["ends"][row, number] = end - 1
        begin = end
    batch["segments"][row, :prefix] = 0


def one_row_a_dialogue(dialogues: Sequence[Sequence[int]], pad_token_id: int, multiple: int = 1) -> dict[str, Tensor]:
    """Lay out every dialogue in a row of its own: ``input_ids`` and ``attention_mask`` [batch, time], padded right."""
    width = -(-max(map(len, dialogues)) // multiple) * multiple
    lengths = torch.tensor([len(dialogue) for dialogue in dialogues])
    input_ids = torch.tensor([[*dialogue, *[pad_token_id] * (width - len(dialogue))] for dialogue in dialogues])
    return {"input_ids": input_ids, "attention_mask": (torch.arange(width) < lengths[:, None]).long()}


def enable_shared_rows(model: Any) -> None:
    """Let a one-label classifier's `forward` take the rows of `one_row_each`, with ``logits [batch, n]``.

    It has to be `forward` itself: DistributedDataParallel and FSDP see to gradients and weights in no other call. Every
    other call goes where it went before.
    """
    model.forward = MethodType(_forward, model)


def pair_scores(model: Any, tokens: dict[str, Tensor]) -> Tensor:
    """Return the raw scores of a batch of pairs, fp32 [batch, 2], chosen then rejected.

    Args:
        model: a one-label classifier, wrapped for training or not.
        tokens: rows of `one_row_each`, or of `one_row_a_dialogue` with all chosen dialogues first.
    """
    if "segments" in tokens:
        return model(**tokens).logits.float()
    return model(**tokens, use_cache=False).logits.float().view(2, -1).T


def _forward(model: Any, *args: Any, segments: Tensor | None = None, ends: Tensor | None = None, **kwargs: Any) -> Any:
    if segments is None or ends is None:
        return type(model).forward(model, *args, **kwargs)
    scores = shared_row_scores(model, kwargs["input_ids"], kwargs["position_ids"], segments, ends)
    return SequenceClassifierOutput(logits=scores)


def shared_row_scores(
    model: Any, input_ids: Tensor, position_ids: Tensor, segments: Tensor, ends: Tensor, by_answer: bool = False
) -> Tensor:
    """Return the raw scores [batch, n] of the rows of `one_row_each`, in the model's precision.

    Args:
        model: a one-label classifier, neither wrapped nor a PEFT model.
        by_answer: attend as `answer_attention` does, where the model's attention is "sdpa"; without gradients only.
    """
    body = getattr(model, model.base_model_prefix)
    masks = attention_masks(model, segments, position_ids)
    attention: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    layout: dict[str, Any] = {}
    if by_answer and model.config._attn_implementation == "sdpa":
        attention, layout = answer_by_answer(model), {"layout": layout_of(segments, ends)}
    with attention, last_layer_only_at(body, _places_of(ends, input_ids.shape[1])):
        hidden = body(input_ids, attention_mask=masks, position_ids=position_ids, use_cache=False, **layout)[0]
    rows = torch.arange(len(ends), device=ends.device)[:, None]
    return model.score(hidden[rows, ends]).squeeze(-1)


def _places_of(ends: Tensor, time: int) -> Tensor:
    """Return where in rows of `time` tokens an answer ends, bool [batch, time]."""
    return (ends[:, :, None] == torch.arange(time, device=ends.device)).any(dim=1)


def attention_masks(model: Any, segments: Tensor, position_ids: Tensor) -> Tensor | dict[str, Tensor]:
    """Return the mask [batch, 1, time, time] of the model's layers, or one for each kind of layer.

    True where a token sees another: not after it in the row, of the prompt or of its own answer and, in layers with a
    sliding window, less than the window before it as positions go.

    Raises:
        ValueError: an attention that takes no free mask, or a kind of layer that is not attention.
    """
    config = model.config.get_text_config()
    window: Any = getattr(config, "sliding_window", None)
    uniform = "full_attention" if window is None else "sliding_attention"
    kinds = set(getattr(config, "layer_types", None) or [uniform])
    if not kinds <= _MASKED_KINDS:
        raise ValueError(f"it has layers of kind {', '.join(sorted(kinds - _MASKED_KINDS))}")
    full = _sees(segments)
    masks = {"full_attention": full}
    if "sliding_attention" in kinds:
        masks["sliding_attention"] = full & (position_ids[:, :, None] - position_ids[:, None, :] < window)
    masks = {kind: _as_attention_takes_it(masks[kind][:, None], model) for kind in kinds}
    return masks if len(masks) > 1 else masks.popitem()[1]


def _sees(segments: Tensor) -> Tensor:
    """Return which token (dimension 1) sees which (dimension 2) [batch, time, time], windows aside."""
    index = torch.arange(segments.shape[1], device=segments.device)
    in_prompt, same_answer = segments[:, None, :] == 0, segments[:, None, :] == segments[:, :, None]
    return (index[:, None] >= index) & (in_prompt | same_answer)


def _as_attention_takes_it(mask: Tensor, model: Any) -> Tensor:
    match model.config._attn_implementation:
        case "sdpa":
            return mask
        case "eager":
            return torch.where(mask, 0.0, torch.finfo(model.dtype).min).to(model.dtype)
        case other:
            raise ValueError(f"attention '{other}' takes no free mask; set attn_implementation: sdpa")


def probe(model: Any, pad_token_id: int, by_answer: bool = False) -> str | None:
    """Score two small random pairs both ways and return None where the scores agree, else why shared rows are out.

    Args:
        model: the very classifier that is to train or score, neither wrapped nor a PEFT model.
        pad_token_id: not used as a token of the pairs.
        by_answer: as in `shared_row_scores`.
    """
    pairs = _random_pairs(model.config.get_text_config().vocab_size, pad_token_id)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            difference = _difference(model, pairs, pad_token_id, by_answer)
    except Exception as error:  # whatever an architecture raises at arguments that it does not know
        return (str(error) or type(error).__name__).splitlines()[0]
    finally:
        model.train(was_training)
    tolerance = _TOLERANCES.get(model.dtype, _LOW_PRECISION_TOLERANCE)
    return None if difference <= tolerance else f"its scores would be off by {difference:.1e}"


def _random_pairs(vocab_size: int, pad_token_id: int) -> list[list[list[int]]]:
    """Two pairs of unlike shapes: prompts of 9 and 3 tokens, answers of 5 and 7, and of 8 and 2."""
    generator = random.Random(0)

    def tokens(count: int) -> list[int]:
        return [(pad_token_id + generator.randrange(1, vocab_size)) % vocab_size for _ in range(count)]

    prompts = [(tokens(9), 5, 7), (tokens(3), 8, 2)]
    return [[prompt + tokens(first), prompt + tokens(second)] for prompt, first, second in prompts]


def _difference(model: Any, pairs: list[list[list[int]]], pad_token_id: int, by_answer: bool) -> float:
    """Return the largest difference between the scores of both layouts, relative to the largest score or to 1."""
    shared, separate = (
        {name: tensor.to(model.device) for name, tensor in batch.items()}
        for batch in (
            one_row_each(pairs, [common_prefix(pair) for pair in pairs], pad_token_id),
            one_row_a_dialogue([dialogue for pair in pairs for dialogue in pair], pad_token_id),
        )
    )
    found = shared_row_scores(model, **shared, by_answer=by_answer).flatten().float()
    expected = model(**separate).logits.flatten().float()
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=1)).item()
