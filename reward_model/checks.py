"""What can be said of a reward model's training before it starts: its pairs, their lengths, its head."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trl import ModelConfig, RewardConfig, get_peft_config

from chat_model.check_up import CheckUp, refuse_long, spread
from chat_model.conversation import Message, PreferencePair
from chat_model.errors import InputError
from chat_model.loading import load_scalar_model
from chat_model.mask_viewer import coloured
from chat_model.rows import read_rows
from chat_model.stage import StageRun
from chat_model.template import Rendered, render
from chat_model.template_checks import PREFIX_STABLE, check_template, stops_of
from reward_model.arguments import RewardModelArguments
from reward_model.data import encode_pair, fill_ratings
from reward_model.scoring import RewardScorer, check_scorer
from reward_model.train import check_reload

_ON_PAIRS = ("template and masks", "over-long pairs")
_PROBES = 8
_QUESTION, _YES, _NO = (
    Message("user", "Is it so?"),
    Message("assistant", "Yes."),
    Message("assistant", "No, it is not."),
)


def check(
    check_up: CheckUp, arguments: RewardModelArguments, config: RewardConfig, model_config: ModelConfig, *others: Any
) -> None:
    """Check the pairs of every source, what the tokenizer makes of them, and that the head survives saving."""
    pairs = [pair for name in arguments.preferences for pair in _read(check_up, name)]
    if pairs:
        _check_labels(check_up, pairs, arguments)
    if check_up.output:
        check_scorer(check_up, str(check_up.output), [pair.prompt + pair.chosen for pair in pairs[:_PROBES]])
    name = str(model_config.model_name_or_path)
    tokenizer = check_up.models.tokenizer(name)
    if tokenizer is None:
        check_up.waiting |= dict.fromkeys((*_ON_PAIRS, "reload parity"), f"the tokenizer of {name}")
        return
    if pairs:
        _check_tokens(check_up, tokenizer, name, pairs, config.max_length)
    else:
        check_up.waiting |= dict.fromkeys(_ON_PAIRS, "its pairs")
    if not check_up.failed(PREFIX_STABLE):
        check_head(check_up, tokenizer, name, model_config)


def _read(check_up: CheckUp, source: str) -> list[PreferencePair]:
    """Return some pairs of a source that is here, spread over its first thousands."""
    pairs = check_up.read(
        source,
        lambda place: (PreferencePair.from_row(row, where) for where, row in read_rows(place, stream=True)),
        why="training would stop at this row",
        fix="mend the row, or import the set with `rounds import`, which maps its columns",
    )
    return spread(pairs)


def _check_labels(check_up: CheckUp, pairs: Sequence[PreferencePair], arguments: RewardModelArguments) -> None:
    with check_up.check(
        "ratings",
        "the margin is taken from the rating, so the run would stop at the first pair without one",
        "set margin: none, or default_rating",
    ):
        fill_ratings(pairs, arguments.margin, arguments.default_rating)
    with check_up.check(
        "safety labels",
        "the safety loss would have nothing to learn from, and the score would not read as P(safe)",
        "give pairs chosen_safe and rejected_safe, or set safety_loss_weight: 0",
    ):
        if arguments.safety_loss_weight and all(pair.chosen_safe is pair.rejected_safe is None for pair in pairs):
            raise InputError(
                f"safety_loss_weight is {arguments.safety_loss_weight}; none of {len(pairs)} pairs is labelled"
            )
    with check_up.check(
        "domain",
        "a model that judges one domain needs pairs of it",
        "name the domain when importing, or set domain: all",
    ):
        domains = {pair.domain for pair in pairs}
        if arguments.domain not in ("all", *domains):
            raise InputError(f"domain is {arguments.domain}; the pairs are of {', '.join(map(str, domains))}")


def _check_tokens(
    check_up: CheckUp, tokenizer: Any, name: str, pairs: Sequence[PreferencePair], max_length: int | None
) -> None:
    dialogues = [pair.prompt + answer for pair in pairs for answer in (pair.chosen, pair.rejected)]
    check_template(check_up, tokenizer, dialogues, stops_of(name, tokenizer))
    if check_up.failed(PREFIX_STABLE):
        return
    with check_up.check(
        "over-long pairs",
        "on_too_long: drop leaves them out, and with them what is said of long answers",
        "raise max_length, or set on_too_long: truncate_prompt",
    ):
        _refuse_long(tokenizer, pairs, max_length)
    check_up.show("an answer, scored at its last token", (_scored(tokenizer, messages) for messages in dialogues))


def _refuse_long(tokenizer: Any, pairs: Sequence[PreferencePair], max_length: int | None) -> None:
    if max_length:
        rows = [encode_pair(pair, tokenizer, "none") for pair in pairs]
        longest = [max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows]
        refuse_long(sum(length > max_length for length in longest), len(pairs), max_length, "pairs")


def _scored(tokenizer: Any, messages: Any) -> Any:
    """Return a dialogue with the one token in colour whose hidden state is scored."""
    token_ids = render(tokenizer, messages).token_ids
    return coloured(tokenizer, Rendered(token_ids, [False] * (len(token_ids) - 1) + [True]))


def check_head(check_up: CheckUp, tokenizer: Any, name: str, model_config: ModelConfig) -> None:
    """Save and load a small model of the architecture as training will, its adapter merged, and compare scores."""
    with check_up.check(
        "reload parity",
        "a head that is not saved comes back random, and every later stage optimises noise",
        "train with task_type SEQ_CLS (ours does), or choose an architecture with a one-label sequence classifier",
        RuntimeError,
        ValueError,
    ):
        start = check_up.models.checkpoint(name)
        if start is None:
            check_up.waiting["reload parity"] = f"the architecture of {name}"
            return
        model = load_scalar_model(start, tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            scorer = RewardScorer(_saved(model, tokenizer, model_config, Path(folder)), tokenizer)
            check_reload(StageRun(Path(folder)), scorer, [PreferencePair((_QUESTION,), (_YES,), (_NO,))])


def _saved(model: Any, tokenizer: Any, model_config: ModelConfig, folder: Path) -> Any:
    """Return the model as saved in `folder`: with an untrained adapter merged in, where training would have one."""
    if model_config.use_peft:
        from peft import get_peft_model

        model = get_peft_model(
            model, get_peft_config(replace(model_config, lora_task_type="SEQ_CLS"))
        ).merge_and_unload()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()
