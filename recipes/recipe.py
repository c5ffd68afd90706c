"""A recipe: a folder with `recipe.yaml` and one YAML file a stage, read strictly and turned into steps.

The paper's whole procedure (Section 3, Figure 4) is fixed by a chain; what a recipe chooses (data, model, rounds,
hyperparameters) stands in its YAML files, and `--set` or a round may override single fields of them.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_model.config import check_keys, read_yaml_mapping
from chat_model.errors import InputError, suggestion
from chat_model.stage import plain
from recipes.overrides import absolute_path, fill, parse_setting
from recipes.recipe_files import (
    PACKAGED,
    RECIPE_FILE,
    find_recipe,
    folders_of,
    has_stage_file,
    read_recipe_file,
    read_stage_file,
    stage_names,
)
from recipes.rounds import Round, read_round
from recipes.step import Step

__all__ = ["PACKAGED", "RECIPE_FILE", "Recipe", "Round", "check_override", "find_recipe", "read_recipe"]

CHAINS = ("llama2_chat", "steps")

_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "description": (str,),
    "extends": (str,),
    "chain": (str,),
    "seed": (int,),
    "accelerate": (str, type(None)),
    "tensor_parallel": (int,),
    "variables": (dict,),
    "rounds": (list,),
    "gatt": (bool,),
    "steps": (list,),
}
_SETTABLE = ("seed", "gatt", "accelerate", "tensor_parallel")


@dataclass(frozen=True)
class Recipe:
    """A recipe as read: what `recipe.yaml` says, with `--set` applied, bound to the folder it writes to."""

    folder: Path
    root: Path  # absolute output root
    name: str
    description: str = ""
    extended: tuple[Path, ...] = ()  # folders of the recipes whose files it has, too, the nearest first
    chain: str = "llama2_chat"
    seed: int = 0
    accelerate: Path | None = None
    tensor_parallel: int = 1  # processes that hold one model together in the stages that sample and score
    variables: dict[str, Any] = field(default_factory=dict)
    rounds: tuple[Round, ...] = ()
    gatt: bool = False
    listed_steps: tuple[dict[str, Any], ...] = ()  # `steps:` of recipe.yaml, for the chain "steps"
    settings: tuple[str, ...] = ()  # the --set texts, paths made absolute
    overrides: dict[str, Any] = field(default_factory=dict)  # {"ppo.learning_rate": 1e-4}, from the settings

    def step(
        self,
        name: str,
        module: str,
        /,
        config: str | None = None,
        output: Path | None = None,
        **arguments: Any,
    ) -> Step:
        """Return the step `name` of this recipe.

        Its arguments are, later ones winning: the recipe's seed, the fields of `config` (a YAML file of the recipe),
        the overrides of the round that `name` starts with (``"RLHF-V1/…"``), the `--set` ones, `arguments`.
        ``{variable}`` in any text among them is replaced; ``{recipe}`` is the folder of the file that says it.

        Raises:
            InputError: a missing or malformed file, an override of a field that the file does not have, or one of a
                field that the chain itself fills in.
        """
        where, variables = f"step '{name}'", {**self.variables, "recipe": str(self.folder)}
        fields = read_stage_file(self._folders, config, variables, where) if config else {}
        changed = self._overrides(config, name.partition("/")[0], arguments) if config else {}
        merged = {"seed": self.seed, **fields, **fill({**changed, **arguments}, variables, where)}
        title = name.replace("/", " / ").replace("_", " ")
        return Step(name, module, plain(merged), Path(output or self.root / name), title)

    def has(self, config: str) -> bool:
        """Return whether the recipe, or one that it extends, has this stage file."""
        return has_stage_file(self._folders, config)

    @functools.cached_property
    def launch(self) -> dict[str, Any]:
        """The content of the launch config; empty where there is none. Raises InputError for a file that is no YAML."""
        return read_yaml_mapping(self.accelerate) if self.accelerate else {}

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.folder, *self.extended)

    def _overrides(self, config: str, round_name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of `config` that the round or the settings replace."""
        stage, fields = config.removesuffix(".yaml"), {}
        of_round = next((a_round.overrides for a_round in self.rounds if a_round.name == round_name), {})
        for key, value in {**of_round, **self.overrides}.items():
            file, _, name = key.partition(".")
            if file == stage and name in arguments:
                raise InputError(f"{key}: cannot be overridden, the chain '{self.chain}' fills it in")
            if file == stage:
                fields[name] = value
        return fields


def read_recipe(name: str | Path, root: str | Path | None = None, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe and bind it to its output root (``runs/<name>`` when None), with `--set` texts applied.

    Raises:
        InputError: a missing file, an unknown key (with a suggestion), a value of the wrong kind, a bad setting.
    """
    folders = folders_of(find_recipe(name))
    folder, *extended = folders
    where = folder / RECIPE_FILE
    content = read_recipe_file(folders, _check_content)
    settings = tuple(absolute_path(setting, content["variables"]) for setting in settings)
    overrides = _apply_settings(content, settings, folders)
    _check_content(content, where)
    content["variables"] = fill(content["variables"], content["variables"], str(where))  # one may lie in another
    content.pop("extends", None)
    recipe = Recipe(
        folder=folder,
        extended=tuple(extended),
        root=Path(root or Path("runs") / content["name"]).resolve(),
        accelerate=_find_launch_config(content.pop("accelerate", None), folders),
        rounds=_read_rounds(content.pop("rounds", ()), where, folders),
        listed_steps=tuple(content.pop("steps", ())),
        settings=settings,
        overrides=overrides,
        **content,
    )
    _check_tensor_parallel(recipe)
    return recipe


def _check_content(content: dict[str, Any], where: Path) -> None:
    check_keys(content, set(_KINDS), str(where))
    if "name" not in content:
        raise InputError(f"{where}: field 'name' is missing; expected a short name such as 'quickstart'")
    for key, value in content.items():
        if not isinstance(value, _KINDS[key]) or (isinstance(value, bool) and key != "gatt"):
            expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in _KINDS[key])
            raise InputError(f"{where}: field '{key}': found {value!r}; expected {expected}")
    chain = content.get("chain", CHAINS[0])
    if chain not in CHAINS:
        raise InputError(f"{where}: field 'chain': found '{chain}'; expected {' or '.join(CHAINS)}")


def _apply_settings(content: dict[str, Any], settings: Sequence[str], folders: Sequence[Path]) -> dict[str, Any]:
    """Put `--set` values of variables and of recipe fields into `content`; return those of stage files."""
    variables = content["variables"]
    overrides = {}
    for setting in settings:
        key, value = parse_setting(setting)
        if key in variables:
            variables[key] = value
        elif key in _SETTABLE:
            content[key] = value
        elif "." in key:
            check_override(key, folders, f"--set {setting}")
            overrides[key] = value
        else:
            known = [*variables, *_SETTABLE]
            raise InputError(
                f"--set {setting}: unknown variable '{key}'{suggestion(key, known)}; expected one of "
                f"{', '.join(known)}, or STAGE_FILE.field"
            )
    return overrides


def check_override(key: str, folders: Sequence[Path], where: str) -> None:
    """Raise InputError unless `key` (``"ppo.learning_rate"``) names a stage file in `folders` and a field of it."""
    stage, _, name = key.partition(".")
    stages = stage_names(folders)
    if stage not in stages:
        raise InputError(f"{where}: {folders[0]} has no file '{stage}.yaml'{suggestion(stage, stages)}")
    fields = read_stage_file(folders, f"{stage}.yaml")
    if name not in fields:
        raise InputError(f"{where}: {stage}.yaml has no field '{name}'{suggestion(name, fields)}; a new one goes there")


def _read_rounds(contents: Sequence[Any], where: Path, folders: Sequence[Path]) -> tuple[Round, ...]:
    rounds = tuple(read_round(content, where) for content in contents)
    names = [each.name for each in rounds]
    if len(set(names)) < len(names):
        raise InputError(f"{where}: field 'rounds': found the names {', '.join(names)}; expected different ones")
    for each in rounds:
        for key in each.overrides:
            check_override(key, folders, f"{where}: round '{each.name}', overrides")
    return rounds


def _find_launch_config(name: str | None, folders: Sequence[Path]) -> Path | None:
    if name is None:
        return None
    known = PACKAGED / "accelerate"
    for path in (known / f"{name}.yaml", *(folder / name for folder in folders), Path(name)):
        if path.is_file():
            return path.resolve()
    names = sorted(file.stem for file in known.glob("*.yaml"))
    raise InputError(
        f"accelerate: no launch config '{name}'{suggestion(name, names)}; expected a file or one of {', '.join(names)}"
    )


def _check_tensor_parallel(recipe: Recipe) -> None:
    """Raise InputError unless `tensor_parallel` divides the processes that the launch config starts."""
    found = recipe.tensor_parallel
    processes = int(recipe.launch.get("num_processes", 1)) if found > 1 else 1
    if found < 1 or processes % found:
        where = f"{recipe.folder / RECIPE_FILE}: field 'tensor_parallel'"
        raise InputError(
            f"{where}: found {found} with {processes} processes; expected a number that divides those of the launch "
            "config that 'accelerate' names"
        )
