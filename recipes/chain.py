"""From a recipe to its steps in order: those that `recipe.yaml` lists, then those of the Llama 2-Chat chain (Figure 4).

The listed ones of a chain prepare its data; of a recipe with ``chain: steps`` they are all there is.
"""

import itertools
from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

from chat_model.config import check_keys
from chat_model.errors import InputError
from recipes.recipe import RECIPE_FILE, Recipe
from recipes.step import Step

_STEP_KEYS = {"name", "module", "config", "arguments", "title", "for"}


def steps_of(recipe: Recipe) -> list[Step]:
    """Return the steps of `recipe`, each after those it reads from. Raises InputError for a bad `steps:` entry."""
    listed, outputs = _listed_steps(recipe)
    if recipe.chain == "steps":
        return listed
    from recipes.llama2_chat import llama2_chat

    return listed + llama2_chat(replace(recipe, variables={**recipe.variables, **outputs}))


Made = dict[str, list[tuple[dict[str, Any], Step]]]  # entry's name -> its steps, each with the choice it was made for


def _listed_steps(recipe: Recipe) -> tuple[list[Step], dict[str, Any]]:
    """Return the steps of every entry, and the folder of each as ``steps.NAME``, several as a list; later ones
    know it.

    An entry with the same `for` as an earlier one sees of that the folder of its own values alone.
    """
    made: Made = {}
    for number, entry in enumerate(recipe.listed_steps, 1):
        _check_entry(entry, f"{recipe.folder / RECIPE_FILE}: step {number}", made)
        made[entry["name"]] = [
            (choice, _step(recipe, entry, {**recipe.variables, **_folders(made, choice)}, choice))
            for choice in _choices(entry)
        ]
    return [step for steps in made.values() for _, step in steps], _folders(made, {})


def _folders(made: Made, choice: dict[str, Any]) -> dict[str, Any]:
    """Return ``{steps.NAME: folder or list of folders}`` as a step for `choice` sees those before it."""
    folders: dict[str, Any] = {}
    for name, steps in made.items():
        own = [step for values, step in steps if values in ({}, choice)]
        folders[f"steps.{name}"] = str(own[0].output) if own else [str(step.output) for _, step in steps]
    return folders


def _choices(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every combination of the values in ``for: {name: [value, …]}``; without it a single empty one."""
    names = entry.get("for", {})
    return (dict(zip(names, values, strict=True)) for values in itertools.product(*names.values()))


def _step(recipe: Recipe, entry: dict[str, Any], variables: dict[str, Any], choice: dict[str, Any]) -> Step:
    name = "/".join([entry["name"], *filter(None, ["_".join(map(str, choice.values()))])])
    knowing = replace(recipe, variables={**variables, **choice})
    step = knowing.step(name, entry["module"], entry.get("config"), **entry.get("arguments", {}))
    return replace(step, title=entry.get("title", step.title))


def _check_entry(entry: Any, where: str, earlier: Container[str]) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: found {entry!r}; expected {{name: …, module: …, config: …}}")
    check_keys(entry, _STEP_KEYS, where)
    for key in ("name", "module"):
        if not isinstance(entry.get(key), str):
            raise InputError(f"{where}: field '{key}': found {entry.get(key)!r}; expected a text")
    if entry["name"] in earlier:
        raise InputError(f"{where}: the name '{entry['name']}' is taken by an earlier step")
    names = entry.get("for", {})
    if not isinstance(names, dict) or not all(isinstance(values, list) and values for values in names.values()):
        raise InputError(f"{where}: field 'for': found {names!r}; expected {{variable: [value, …]}}")
