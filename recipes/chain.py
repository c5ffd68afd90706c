"""From a recipe to its steps in order: the Llama 2-Chat chain (Figure 4), or the ones that `recipe.yaml` lists."""

from dataclasses import replace
from typing import Any

from chat_model.config import check_keys
from chat_model.errors import InputError
from recipes.recipe import RECIPE_FILE, Recipe
from recipes.step import Step

_STEP_KEYS = {"name", "module", "config", "arguments", "title"}


def steps_of(recipe: Recipe) -> list[Step]:
    """Return the steps of `recipe`, each after those it reads from. Raises InputError for a bad `steps:` entry."""
    if recipe.chain == "steps":
        return _listed_steps(recipe)
    from recipes.llama2_chat import llama2_chat

    return llama2_chat(recipe)


def _listed_steps(recipe: Recipe) -> list[Step]:
    steps: list[Step] = []
    for entry in recipe.listed_steps:
        _check_entry(entry, recipe, steps)
        outputs = {f"steps.{step.name}": str(step.output) for step in steps}
        knowing = replace(recipe, variables={**recipe.variables, **outputs})
        step = knowing.step(entry["name"], entry["module"], entry.get("config"), **entry.get("arguments", {}))
        steps.append(replace(step, title=entry.get("title", step.title)))
    return steps


def _check_entry(entry: Any, recipe: Recipe, earlier: list[Step]) -> None:
    where = f"{recipe.folder / RECIPE_FILE}: step {len(earlier) + 1}"
    if not isinstance(entry, dict):
        raise InputError(f"{where}: found {entry!r}; expected {{name: …, module: …, config: …}}")
    check_keys(entry, _STEP_KEYS, where)
    for key in ("name", "module"):
        if not isinstance(entry.get(key), str):
            raise InputError(f"{where}: field '{key}': found {entry.get(key)!r}; expected a text")
    if entry["name"] in [step.name for step in earlier]:
        raise InputError(f"{where}: the name '{entry['name']}' is taken by an earlier step")
