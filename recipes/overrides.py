"""Single values of a recipe given from outside: `--set key=value` texts, and ``{variable}`` in the YAML's texts."""

import os
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import yaml

from chat_model.errors import InputError, suggestion

_PLACE = re.compile(r"\{([\w.\-/]+)\}")


def parse_setting(text: str) -> tuple[str, Any]:
    """Return key and value of ``"key=value"``, the value read as YAML; a mapping has braces, so ``tiny:`` is a text.

    Raises:
        InputError: no key, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {text}: expected key=value, as in --set data=rows.jsonl")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {text}: the value is not YAML ({' '.join(str(error).split())})") from error
    return key.strip(), value.strip() if isinstance(read, dict) and not value.strip().startswith("{") else read


def absolute_path(setting: str, variables: Container[str]) -> str:
    """Return `setting` with an existing relative path in its value made absolute, so that it holds from anywhere.

    A stage's field must look like a path (a separator or a suffix): ``sft.report_to=runs`` is not one.
    """
    key, _, value = setting.partition("=")
    looks_like_path = key.strip() in variables or os.sep in value or Path(value).suffix
    if value and looks_like_path and Path(value).expanduser().exists():
        return f"{key}={Path(value).expanduser().resolve()}"
    return setting


def fill(value: Any, variables: Mapping[str, Any], where: str) -> Any:
    """Return `value` with every ``{name}`` of `variables` replaced in all texts within it.

    A text that is nothing but ``{name}`` becomes the variable itself, number or null; other braces are left alone.

    Raises:
        InputError: for ``{steps.NAME}`` where no such step comes before.
    """
    if isinstance(value, dict):
        return {key: fill(item, variables, where) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill(item, variables, where) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    if whole and whole[1] in variables:
        return variables[whole[1]]
    return _PLACE.sub(lambda place: _replacement(place, variables, where), value)


def _replacement(place: re.Match[str], variables: Mapping[str, Any], where: str) -> str:
    if place[1] in variables:
        return str(variables[place[1]])
    if place[1].startswith("steps."):
        raise InputError(f"{where}: no step before it for '{place[0]}'{suggestion(place[1], variables)}")
    return place[0]
