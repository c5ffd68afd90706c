"""The YAML files of a recipe: those of its folder, over those of the recipe that it extends.

A recipe with ``extends: quickstart`` has every file of the quickstart. A file of its own with the same name adds fields
to the extended one or replaces them, so a variation of a recipe holds nothing but what differs.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chat_model.config import read_yaml_mapping
from chat_model.errors import InputError, suggestion
from recipes.overrides import fill

RECIPE_FILE = "recipe.yaml"
PACKAGED = Path(__file__).parent
_OWN = ("name", "description", "extends")  # what a recipe says of itself alone


def find_recipe(name: str | Path, beside: Path | None = None) -> Path:
    """Return the folder of a recipe, given as a folder or as the name of a packaged one.

    Args:
        beside: what a relative folder is relative to; None: the current folder.

    Raises:
        InputError: no such recipe; names the packaged ones.
    """
    given = (beside or Path()) / name
    for folder in (given, PACKAGED / name):
        if (folder / RECIPE_FILE).is_file():
            return folder.resolve()
    if given.is_dir():
        raise InputError(f"{name}: holds no {RECIPE_FILE}, so it is no recipe")
    packaged = sorted(file.parent.name for file in PACKAGED.glob(f"*/{RECIPE_FILE}"))
    raise InputError(f"{name}: no such recipe folder{suggestion(str(name), packaged)}; packaged: {', '.join(packaged)}")


def folders_of(folder: Path) -> tuple[Path, ...]:
    """Return `folder`, the one that it extends, the one that this extends, …

    Raises:
        InputError: an `extends` that names no recipe, or one that leads back to where it came from.
    """
    folders = [folder]
    while extends := read_yaml_mapping(folders[-1] / RECIPE_FILE).get("extends"):
        where = f"{folders[-1] / RECIPE_FILE}: field 'extends'"
        if not isinstance(extends, str):
            raise InputError(f"{where}: found {extends!r}; expected the name or the folder of a recipe")
        try:
            folders.append(find_recipe(extends, folders[-1]))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if len(set(folders)) < len(folders):
            raise InputError(f"{where}: '{extends}' leads back to {folders[-1]}; a recipe cannot extend itself")
    return tuple(folders)


def read_recipe_file(folders: Sequence[Path], check: Callable[[dict[str, Any], Path], None]) -> dict[str, Any]:
    """Return the content of the recipe files, a field of the first folder before that of the next.

    Name and description are never taken over; variables are, each for itself.

    Args:
        check: raises InputError for a bad content, given with its file.

    Raises:
        InputError: a missing or malformed file, or what `check` raises.
    """
    merged: dict[str, Any] = {}
    for folder in reversed(folders):
        content = read_yaml_mapping(folder / RECIPE_FILE)
        check(content, folder / RECIPE_FILE)
        variables = {**merged.get("variables", {}), **content.get("variables", {})}
        inherited = {key: value for key, value in merged.items() if key not in _OWN}
        merged = {**inherited, **content, "variables": variables}
    return merged


def has_stage_file(folders: Sequence[Path], config: str) -> bool:
    """Return whether any of `folders` has this file."""
    return any((folder / config).is_file() for folder in folders)


def stage_names(folders: Sequence[Path]) -> set[str]:
    """Return the names, without suffix, of all stage files in `folders`."""
    return {file.stem for folder in folders for file in folder.glob("*.yaml")} - {Path(RECIPE_FILE).stem}


def read_stage_file(
    folders: Sequence[Path], config: str, variables: Mapping[str, Any] | None = None, where: str = ""
) -> dict[str, Any]:
    """Return the fields of a stage file, those of the first folder before those of the next.

    Args:
        variables: replaced in the texts; ``{recipe}`` is the folder of the very file that says it. None replaces none.
        where: what an error of a variable names.

    Raises:
        InputError: no such file in any of `folders`, or a malformed one.
    """
    files = [folder / config for folder in folders if (folder / config).is_file()] or [folders[0] / config]
    fields: dict[str, Any] = {}
    for file in reversed(files):
        content = read_yaml_mapping(file)
        fields |= content if variables is None else fill(content, {**variables, "recipe": str(file.parent)}, where)
    return fields
