"""Checks that all stages on prompts have in common: the file, the room for an answer, and that sampling can stop."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from chat_model.check_up import LONG_SHARE, ROWS_READ, CheckUp, spread
from chat_model.conversation import Message, Prompt
from chat_model.errors import InputError
from chat_model.mask_viewer import coloured
from chat_model.rows import read_rows
from chat_model.stand_in import context_of, num_embeddings
from chat_model.template import Rendered, render_prompt
from chat_model.template_checks import PREFIX_STABLE, check_template, stops_of

_ANSWER = Message("assistant", "Yes.")  # any answer: it shows how the template ends a turn
PAD_EMBEDDING = "pad token in the embeddings"
_ON_TOKENS = ("template and masks", "room for an answer", PAD_EMBEDDING)


def check_prompts(
    check_up: CheckUp,
    source: str,
    model: str,
    max_new_tokens: int,
    num_prompts: int | None = None,
    drops_long: bool = False,
) -> list[Prompt]:
    """Check the prompts of a stage and what the sampling model's tokenizer makes of them; return some of them.

    Args:
        drops_long: the stage leaves out prompts without room for an answer, so a few of them are no fault.
    """
    prompts = read_some(check_up, source, num_prompts)
    tokenizer = check_up.models.tokenizer(model) if prompts else None
    if tokenizer is None:
        what = f"the tokenizer of {model}" if prompts else "its prompts"
        check_up.waiting |= dict.fromkeys(_ON_TOKENS, what)
        return prompts
    stops = stops_of(str(check_up.models.checkpoint(model)), tokenizer)
    check_template(check_up, tokenizer, [(*prompt.prompt, _ANSWER) for prompt in prompts], stops)
    if not check_up.failed(PREFIX_STABLE):
        tolerated = LONG_SHARE * len(prompts) if drops_long else 0
        _check_room(check_up, tokenizer, model, prompts, max_new_tokens, tolerated)
    return prompts


def read_some(check_up: CheckUp, source: str, num_prompts: int | None = None) -> list[Prompt]:
    """Return some prompts of a source that is here, checked, spread over its first thousands."""
    prompts = check_up.read(
        source, _parse, why="the stage would stop at this row", fix="mend the row: prompt, and is_safety if it is known"
    )
    if prompts:
        with check_up.check("enough prompts", "the stage would stop at once", "lower num_prompts, or add prompts"):
            _refuse_too_few(prompts, source, num_prompts)
    return spread(prompts)


def _parse(place: str) -> Iterator[Prompt]:
    rows = read_rows(place, stream=True)
    first = next(rows, None)
    if first is None:
        raise InputError(f"{place}: found no rows; expected at least one")
    for where, row in itertools.chain([first], rows):
        yield Prompt.from_row(row, where)


def _refuse_too_few(prompts: list[Prompt], source: str, num_prompts: int | None) -> None:
    different = len(set(prompts))
    if num_prompts and len(prompts) < ROWS_READ and num_prompts > different:
        raise InputError(f"num_prompts is {num_prompts}; {source} has {different} different prompts")


def _check_room(
    check_up: CheckUp, tokenizer: Any, model: str, prompts: list[Prompt], max_new_tokens: int, tolerated: float
) -> None:
    checkpoint = check_up.models.checkpoint(model)
    _check_pad(check_up, tokenizer, model, checkpoint)
    token_ids = [render_prompt(tokenizer, prompt.prompt) for prompt in prompts]
    with check_up.check(
        "room for an answer",
        "prompts that leave no room are dropped by PPO, and end the other stages",
        "lower max_new_tokens, or leave long prompts out",
    ):
        context = context_of(checkpoint) if checkpoint else math.inf
        if (without := sum(len(ids) + max_new_tokens > context for ids in token_ids)) > tolerated:
            raise InputError(
                f"{without} of {len(prompts)} prompts leave no room for max_new_tokens={max_new_tokens} in the context "
                f"of {context} tokens of {model}"
            )
    shown = (coloured(tokenizer, Rendered(ids, [False] * len(ids))) for ids in token_ids)
    check_up.show("a prompt, as it is sampled from", shown)


def _check_pad(check_up: CheckUp, tokenizer: Any, model: str, checkpoint: str | None) -> None:
    with check_up.check(
        PAD_EMBEDDING,
        "rows of a batch are padded with it: a lookup behind the last embedding ends the run",
        "fine-tune the model with sft first, which adds a pad token and its embedding",
    ):
        if checkpoint and tokenizer.pad_token_id >= (rows := num_embeddings(checkpoint)):
            raise InputError(f"{model}: the pad token is number {tokenizer.pad_token_id}; there are {rows} embeddings")
