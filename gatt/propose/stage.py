"""The stage: one question a kind to the model, its lists merged, and a constraint written for each value it named."""

from typing import Any

import yaml

from chat_model.conversation import Message, fault
from chat_model.errors import InputError
from chat_model.rows import write_whole
from chat_model.stage import StageRun
from gatt.constraints import Constraint, load_yaml_list
from gatt.propose.config import ProposeConfig
from gatt.propose.lists import deduplicate, parse_list
from gatt.sampler import ModelSampler

PLACE = "{value}"


def propose(run: StageRun, config: ProposeConfig) -> None:
    """Write `constraints.yaml`, which `gatt.synthesize` reads, and count what was named, dropped and repeated."""
    proposals = read_proposals(config.proposals)
    names = ("num_samples", "temperature", "max_new_tokens", "batch_tokens", "engine")
    settings = {name: getattr(config, name) for name in names}
    sampler = ModelSampler.from_checkpoint(config.model_name_or_path, config.dtype, seed=config.seed, **settings)
    answers = sampler([[Message("user", question)] for question, _ in proposals])
    rows: list[dict[str, Any]] = []
    for index, (question, proposal) in enumerate(proposals):
        own = answers[index * config.num_samples : (index + 1) * config.num_samples]
        values = _values(run, proposal["kind"], own, config.num_values)
        if not values:
            raise InputError(f"{config.model_name_or_path}: its answers to {question!r} hold no list; ask differently")
        rows += [fill(proposal, value) for value in values]
    if run.is_main:
        with write_whole(run.folder / "constraints.yaml") as beside:
            beside.write_text(yaml.safe_dump(rows, sort_keys=False, allow_unicode=True), encoding="utf-8")


def read_proposals(path: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (question, constraint with ``{value}`` in its texts) for every item of the YAML list.

    Raises:
        InputError: as `gatt.constraints.read_constraints`; or an item without question, or without ``{value}``.
    """
    proposals = []
    for number, row in enumerate(load_yaml_list(path), 1):
        where = f"{path}: item {number}"
        question = row.pop("question", None) if isinstance(row, dict) else None
        if isinstance(row, dict) and (not isinstance(question, str) or not question.strip()):
            raise fault(where, "question", question, "what to ask the model, such as 'Name ten hobbies.'")
        constraint = Constraint.from_row({"value": PLACE, **row} if isinstance(row, dict) else row, where)
        for name, text in [("terse", constraint.terse), *(("verbose", text) for text in constraint.verbose)]:
            if PLACE not in text:
                raise fault(where, name, text, f"a text with {PLACE} where the value goes")
        proposals.append((str(question), {**row, "kind": constraint.kind}))
    return proposals


def _values(run: StageRun, kind: str, answers: list[str], num_values: int) -> list[str]:
    parsed = [parse_list(answer) for answer in answers]
    named = [item for items, _ in parsed for item in items]
    distinct = deduplicate(named)
    counts = {"answers": len(answers), "items_named": len(named), "no_items": sum(dropped for _, dropped in parsed)}
    repeated, beyond = len(named) - len(distinct), max(0, len(distinct) - num_values)
    run.count(**{kind: {**counts, "repeated": repeated, "beyond_num_values": beyond}})
    return distinct[:num_values]


def fill(proposal: dict[str, Any], value: str) -> dict[str, Any]:
    """Return the row of a constraints file: `proposal` with `value` in the place of every ``{value}``."""

    def filled(content: Any) -> Any:
        if isinstance(content, list):
            return [filled(each) for each in content]
        return content.replace(PLACE, value) if isinstance(content, str) else content

    return {
        "kind": proposal["kind"],
        "value": value,
        **{key: filled(each) for key, each in proposal.items() if key != "kind"},
    }
