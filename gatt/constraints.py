"""Constraints, their combinations, and the instructions that state them (section 3.3, A.3.5).

A constraint is a hobby, a language, a public figure, or whatever else a YAML file describes; an instruction states
one to several of them at once. Plain data, no torch; what tells whether an answer follows is in `gatt.checks`.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from chat_model.conversation import fault
from chat_model.errors import InputError, suggestion
from chat_model.rows import read_rows

TERSE_SHARE = 0.5  # "we also modify the original instruction half of the time to be less verbose"
_FIELDS = ("kind", "value", "verbose", "terse", "ask", "checker", "contradicts")


@dataclass(frozen=True)
class Constraint:
    """One thing to be obeyed throughout a dialogue.

    `verbose` phrasings and the `terse` form state it; `ask` holds questions that put it to the test (empty: any
    question does); `checker` is the dotted name of a function of `gatt.checks`' signature (None: nothing can tell).
    `contradicts` names kinds ("language") or single constraints ("language french") that cannot hold beside it, over
    and above those of its own kind.
    """

    kind: str
    value: str
    verbose: tuple[str, ...]
    terse: str
    ask: tuple[str, ...] = ()
    checker: str | None = None
    contradicts: tuple[str, ...] = ()

    @property
    def names(self) -> set[str]:
        """What `contradicts` of another constraint may call it."""
        return {self.kind, f"{self.kind} {self.value}"}

    def excludes(self, other: Self) -> bool:
        """Return whether the two cannot hold together."""
        named = self.names & set(other.contradicts) or other.names & set(self.contradicts)
        return self.kind == other.kind or bool(named)

    @classmethod
    def from_row(cls, row: Any, where: str) -> Self:
        """Validate one item of the YAML list. Raises InputError naming `where` and the field."""
        if not isinstance(row, dict):
            raise InputError(f"{where}: found {type(row).__name__}; expected a mapping with {', '.join(_FIELDS)}")
        for unknown in sorted(set(row) - set(_FIELDS), key=str):
            raise fault(where, unknown, row[unknown], f"no such field{suggestion(str(unknown), _FIELDS)}")
        kind, value, terse = (_text(row, name, where) for name in ("kind", "value", "terse"))
        verbose, ask = _texts(row, "verbose", where), _texts(row, "ask", where)
        if not verbose:
            raise fault(where, "verbose", row.get("verbose"), "a list with at least one phrasing")
        checker = None if row.get("checker") is None else _text(row, "checker", where)
        return cls(kind, value, verbose, terse, ask, checker, _texts(row, "contradicts", where))


def _text(row: dict[str, Any], name: str, where: str) -> str:
    text = row.get(name)
    if not isinstance(text, str) or not text.strip():
        raise fault(where, name, text, "text that is not empty")
    return text


def _texts(row: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    texts = row.get(name) or []
    if not isinstance(texts, list) or any(not isinstance(text, str) or not text.strip() for text in texts):
        raise fault(where, name, texts, "a list of texts, none of them empty")
    return tuple(texts)


@dataclass(frozen=True)
class Combination:
    """Constraints that hold together: at most one of a kind, and none that contradicts another."""

    constraints: tuple[Constraint, ...]

    @property
    def key(self) -> frozenset[tuple[str, str]]:
        """What makes two combinations the same, whatever their order: their (kind, value) pairs."""
        return frozenset((constraint.kind, constraint.value) for constraint in self.constraints)

    @property
    def kinds(self) -> set[str]:
        """The kinds of its constraints."""
        return {constraint.kind for constraint in self.constraints}

    @property
    def has_checker(self) -> bool:
        """Whether any of the constraints can be checked."""
        return any(constraint.checker for constraint in self.constraints)

    def to_row(self) -> dict[str, Any]:
        """Return the file row: the constraints by kind and value."""
        return {"constraints": [{"kind": each.kind, "value": each.value} for each in self.constraints]}


def instruction(combination: Combination, rng: random.Random) -> str:
    """Return a text that states `combination`: its constraints in random order, tersely half of the time."""
    terse = rng.random() < TERSE_SHARE
    shuffled = rng.sample(combination.constraints, len(combination.constraints))
    return " ".join(each.terse if terse else rng.choice(each.verbose) for each in shuffled)


def read_constraints(path: str | Path) -> list[Constraint]:
    """Read a YAML list of constraints.

    Raises:
        InputError: file missing, not YAML, empty, a bad item (names item and field), a constraint listed twice, or one
            that contradicts something the file does not hold.
    """
    rows = load_yaml_list(path)
    constraints = [Constraint.from_row(row, f"{path}: item {number}") for number, row in enumerate(rows, 1)]
    seen = set()
    for number, each in enumerate(constraints, 1):
        if (each.kind, each.value) in seen:
            raise fault(f"{path}: item {number}", "value", each.value, f"a {each.kind} that is not listed above")
        seen.add((each.kind, each.value))
    _check_contradictions(path, constraints)
    return constraints


def _check_contradictions(path: str | Path, constraints: Sequence[Constraint]) -> None:
    names = set().union(*(each.names for each in constraints))
    for number, each in enumerate(constraints, 1):
        for name in sorted(set(each.contradicts) - names):
            expected = f"a kind, or a kind and value, of this file{suggestion(name, names)}"
            raise fault(f"{path}: item {number}", "contradicts", name, expected)


def draw_combination(constraints: Sequence[Constraint], max_constraints: int, rng: random.Random) -> Combination:
    """Return one to `max_constraints` of `constraints`, drawn at random, that do not contradict each other.

    Kinds are drawn first, so that a kind of many values is no likelier than another.
    """
    kinds = sorted({each.kind for each in constraints})
    chosen: list[Constraint] = []
    for kind in rng.sample(kinds, rng.randint(1, min(max_constraints, len(kinds)))):
        fitting = [each for each in constraints if each.kind == kind and not any(map(each.excludes, chosen))]
        chosen += [rng.choice(fitting)] if fitting else []
    return Combination(tuple(chosen))


def load_yaml_list(path: str | Path) -> list[Any]:
    """Read a YAML file that holds a list, safely. Raises InputError: file missing, not YAML, no list, or empty."""
    try:
        rows = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: found {rows!r}; expected a list of constraints that is not empty")
    return rows


def read_combinations(source: str | Path, constraints: Sequence[Constraint]) -> list[Combination]:
    """Read rows ``{"constraints": [{"kind", "value"}, …]}``, each pair being one of `constraints`.

    Raises:
        InputError: no rows, an unknown constraint (with a suggestion), or two of one kind, which contradict each other.
    """
    known = {(each.kind, each.value): each for each in constraints}
    combinations = [_parse_combination(row.get("constraints"), known, where) for where, row in read_rows(source)]
    if not combinations:
        raise InputError(f"{source}: found no rows; expected at least one combination of constraints")
    return combinations


def _parse_combination(rows: Any, known: dict[tuple[str, str], Constraint], where: str) -> Combination:
    if not isinstance(rows, list) or not rows:
        raise fault(where, "constraints", rows, "a list of {kind, value} that is not empty")
    chosen: list[Constraint] = []
    for index, row in enumerate(rows):
        field = f"constraints[{index}]"
        if not isinstance(row, dict):
            raise fault(where, field, row, "a mapping with 'kind' and 'value'")
        pair = (str(row.get("kind")), str(row.get("value")))
        if pair not in known:
            values = [value for kind, value in known if kind == pair[0]]
            raise fault(where, field, row, "a kind and value of the constraints file" + suggestion(pair[1], values))
        for each in chosen:
            if each.excludes(known[pair]):
                raise fault(where, field, row, f"none that contradicts {each.kind} {each.value} before it")
        chosen.append(known[pair])
    return Combination(tuple(chosen))


def require_kinds(kinds: Sequence[str], constraints: Sequence[Constraint], where: str) -> None:
    """Raise InputError, beginning with `where`, unless each of `kinds` is that of one of `constraints`."""
    known = sorted({each.kind for each in constraints})
    for kind in kinds:
        if kind not in known:
            raise InputError(f"{where}: no kind '{kind}'{suggestion(kind, known)}; expected some of {', '.join(known)}")


def refuse_shared(held_out: Sequence[Combination], training: Sequence[Combination], source: str | Path) -> None:
    """Raise InputError when a combination of `held_out` (read from `source`) also occurs in `training`."""
    shared = {each.key for each in held_out} & {each.key for each in training}
    if shared:
        example = ", ".join(f"{kind} {value}" for kind, value in sorted(min(shared, key=sorted)))
        raise InputError(
            f"{source}: {len(shared)} combination(s) also occur in training, such as ({example}); expected none"
        )
