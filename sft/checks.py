"""What can be said of a fine-tuning run before it starts: its rows, its template and its masks (`rounds doctor`)."""

from typing import Any

from chat_model.check_up import CheckUp, refuse_long, spread
from chat_model.conversation import Conversation
from chat_model.errors import InputError
from chat_model.loading import TINY
from chat_model.mask_viewer import coloured
from chat_model.template import render
from chat_model.template_checks import PREFIX_STABLE, check_template, stops_of
from sft.data import PlainText, read_documents, tokenize
from sft.train import SFTArguments, make_tokenizer

Documents = list[Conversation | PlainText]
_ON_TOKENS = ("template and masks", "fully masked rows", "over-long rows")


def check(check_up: CheckUp, arguments: SFTArguments, config: Any, model_config: Any, *others: Any) -> None:
    """Check the rows of every source, and what the tokenizer makes of them."""
    documents = [each for name in _sources(arguments) for each in _read(check_up, name, arguments.text_column)]
    name = arguments.tokenizer_name_or_path or str(model_config.model_name_or_path)
    tokenizer = _tokenizer(check_up, name, arguments, config, model_config, documents) if documents else None
    if tokenizer is None:
        check_up.waiting |= dict.fromkeys(_ON_TOKENS, f"the tokenizer of {name}" if documents else "its rows")
        return
    stops = stops_of(str(model_config.model_name_or_path), tokenizer, config.eos_token)
    check_documents(check_up, tokenizer, documents, stops, config.max_length)
    if config.eos_token:
        tokenizer.eos_token = config.eos_token  # as the trainer does, after the rows are made
    check_up.models.provide(config.output_dir, tokenizer)


def _tokenizer(
    check_up: CheckUp, name: str, arguments: SFTArguments, config: Any, model_config: Any, documents: Documents
) -> Any:
    """Return the tokenizer that training will make, or None while what it is made from cannot be read."""
    if not (name.startswith(TINY) or check_up.models.is_readable(name)):
        return check_up.models.tokenizer(name)
    with check_up.check(
        "tokenizer",
        "nothing can be trained or sampled without it",
        "name a model whose folder holds a tokenizer, or tokenizer_name_or_path",
    ):
        return make_tokenizer(arguments, config, model_config, documents)


def _sources(arguments: SFTArguments) -> list[str]:
    return [*arguments.dataset_name, *arguments.eval_dataset_name, *arguments.rehearsal_dataset_name]


def _read(check_up: CheckUp, source: str, text_column: str) -> Documents:
    """Return some documents of a source that is here, spread over its first thousands."""
    documents = check_up.read(
        source,
        lambda place: read_documents(place, text_column, stream=True),
        why="training would stop at this row, or train on something else than was meant",
        fix="mend the row, or import the set with `rounds import`",
    )
    return spread(documents)


def check_documents(
    check_up: CheckUp, tokenizer: Any, documents: Documents, stops: set[int], max_length: int | None
) -> None:
    """Check template, masks and lengths of documents, and show the first ones with their masks coloured."""
    conversations = [each.messages for each in documents if isinstance(each, Conversation)]
    if conversations:
        check_template(check_up, tokenizer, conversations, stops)
    if check_up.failed(PREFIX_STABLE):
        return
    _check_lengths(check_up, tokenizer, documents, max_length)
    rows = (coloured(tokenizer, render(tokenizer, messages)) for messages in conversations)
    check_up.show("a row to train on, the trained tokens in green", rows)


def _check_lengths(check_up: CheckUp, tokenizer: Any, documents: Documents, max_length: int | None) -> None:
    with check_up.check(
        "fully masked rows",
        "a row without a trained token costs its reading and teaches nothing; many of them, and little is learnt",
        "raise max_length, shorten the prompts, or leave out rows whose answers all have train: false",
    ):
        report = tokenize(tokenizer, documents, max_length).report()
        _refuse_masked(report, len(documents), max_length)
    if check_up.failed("fully masked rows"):
        return
    with check_up.check(
        "over-long rows",
        "what stands beyond max_length is cut off, the stop token first",
        "raise max_length, or leave long rows out",
    ):
        if max_length:
            refuse_long(report["rows_truncated"], len(documents), max_length, "rows")


def _refuse_masked(report: dict[str, Any], count: int, max_length: int | None) -> None:
    if dropped := report["rows_dropped_prompt_fills_max_length"]:
        raise InputError(f"{dropped} of {count} rows have no trained token within max_length={max_length}")
