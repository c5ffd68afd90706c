"""Checks of what a chat template and a tokenizer make of conversations: where a silent fault costs a whole run.

Each raises InputError with what was found; `check_template` runs all of them with the reasons.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from chat_model.check_up import CheckUp
from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.template import Rendered, render

PREFIX_STABLE = "prefix-stable template"
Conversations = Sequence[Sequence[Message]]


def check_template(check_up: CheckUp, tokenizer: Any, conversations: Conversations, stops: Collection[int]) -> None:
    """Run all checks of a template on conversations that end with an answer.

    Args:
        stops: tokens that end a response when sampling.
    """
    with check_up.check(
        "pad token",
        "padding that is the end token is scored or masked as an end: a model trained so never stops",
        "give the tokenizer a pad token of its own, such as <pad>",
    ):
        check_pad(tokenizer)
    with check_up.check(
        PREFIX_STABLE,
        "an answer would be trained behind another prompt than the one it is sampled behind",
        "use a template that renders earlier turns alike, or mark earlier answers with train: false",
    ):
        rendered = [render(tokenizer, messages) for messages in conversations]
    if check_up.failed(PREFIX_STABLE):
        return
    _check_rendered(check_up, tokenizer, rendered, conversations, stops)


def _check_rendered(
    check_up: CheckUp,
    tokenizer: Any,
    rendered: Sequence[Rendered],
    conversations: Conversations,
    stops: Collection[int],
) -> None:
    with check_up.check(
        "one BOS",
        "a second <s> is a token that pretraining has never seen there",
        "let the template or the tokenizer write it, not both",
    ):
        check_single_bos(tokenizer, rendered)
    with check_up.check(
        "stop token trained",
        "the model never learns to end its turn, and every response runs to max_new_tokens",
        "end the template's assistant turn with the tokenizer's eos_token, or name the token it ends with as eos_token",
    ):
        check_stop_token(tokenizer, rendered, stops)
    with check_up.check(
        "mask leak",
        "tokens that the user or the template writes get loss, so the model learns to go on by itself",
        "let the template end an assistant turn with the stop token and nothing behind it but white space",
    ):
        check_mask_leak(tokenizer, rendered, conversations, stops)


def check_pad(tokenizer: Any) -> None:
    """Raise InputError unless there is a pad token that is not the end token."""
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise InputError(f"{tokenizer.name_or_path}: the pad token is {tokenizer.pad_token!r}, as is the end token")


def check_single_bos(tokenizer: Any, rendered: Sequence[Rendered]) -> None:
    """Raise InputError if a conversation begins with two BOS tokens."""
    bos = tokenizer.bos_token_id
    if bos is not None and any(each.token_ids[:2] == [bos, bos] for each in rendered):
        raise InputError(f"{tokenizer.name_or_path}: a conversation begins with {tokenizer.bos_token!r} twice")


def check_stop_token(tokenizer: Any, rendered: Sequence[Rendered], stops: Collection[int]) -> None:
    """Raise InputError unless every trained answer holds a token that ends a response."""
    for each in rendered:
        for run in trained_runs(each):
            if not stops & set(run):
                last, known = tokenizer.decode(run[-1:]), ", ".join(sorted(map(tokenizer.decode, stops)))
                raise InputError(
                    f"{tokenizer.name_or_path}: a trained answer ends with {last!r}; sampling stops at {known}"
                )


def check_mask_leak(
    tokenizer: Any, rendered: Sequence[Rendered], conversations: Conversations, stops: Collection[int]
) -> None:
    """Raise InputError if something gets loss behind a stop token, or two turns are trained as one."""
    for each, messages in zip(rendered, conversations, strict=True):
        runs = list(trained_runs(each))
        answers = sum(message.role == "assistant" and message.train is not False for message in messages)
        if len(runs) != answers:
            raise InputError(
                f"{tokenizer.name_or_path}: {answers} answers give {len(runs)} stretches of trained tokens"
            )
        for run in runs:
            end = next((index + 1 for index, token in enumerate(run) if token in stops), len(run))
            if behind := tokenizer.decode(run[end:]).strip():
                raise InputError(f"{tokenizer.name_or_path}: {behind!r} gets loss behind the end of an answer")


def trained_runs(rendered: Rendered) -> Iterator[list[int]]:
    """Yield the token ids of every stretch of tokens that get loss."""
    run: list[int] = []
    for token, counts in zip(rendered.token_ids, rendered.loss_mask, strict=True):
        if counts:
            run.append(token)
        elif run:
            yield run
            run = []
    if run:
        yield run


def stops_of(name: str, tokenizer: Any, eos_token: str | None = None) -> set[int]:
    """Return the tokens that will end a response of a checkpoint: its own, and `eos_token` where training sets one."""
    from transformers import GenerationConfig

    try:
        configured = GenerationConfig.from_pretrained(name).eos_token_id
    except (OSError, ValueError):
        configured = None
    found = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    if eos_token:
        found.add(tokenizer.convert_tokens_to_ids(eos_token))
    return found - {None}
