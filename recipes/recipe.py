"""A recipe: a folder with `recipe.yaml` and one YAML file a stage, read strictly and turned into steps.

The paper's whole procedure (Section 3, Figure 4) is fixed by a chain; what a recipe chooses (data, model, rounds,
hyperparameters) stands in its YAML files, and `--set` or a round may override single fields of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chat_model.config import check_keys, read_yaml_mapping
from chat_model.errors import InputError, suggestion
from chat_model.stage import plain
from recipes.overrides import absolute_path, fill, parse_setting
from recipes.step import Step

RECIPE_FILE = "recipe.yaml"
PACKAGED = Path(__file__).parent
ROUND_STAGES = ("preferences", "reward_models", "rejection_sampling", "ppo")
CHAINS = ("llama2_chat", "steps")

_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "description": (str,),
    "chain": (str,),
    "seed": (int,),
    "accelerate": (str, type(None)),
    "variables": (dict,),
    "rounds": (list,),
    "gatt": (bool,),
    "steps": (list,),
}
_SETTABLE = ("seed", "gatt", "accelerate")


@dataclass(frozen=True)
class Round:
    """One RLHF round: its stages in order, and the stage fields that differ in it."""

    name: str
    stages: tuple[str, ...]
    overrides: dict[str, Any] = field(default_factory=dict)  # {"rejection_sampling.temperature": 1.1}


@dataclass(frozen=True)
class Recipe:
    """A recipe as read: what `recipe.yaml` says, with `--set` applied, bound to the folder it writes to."""

    folder: Path
    root: Path  # absolute output root
    name: str
    description: str = ""
    chain: str = "llama2_chat"
    seed: int = 0
    accelerate: Path | None = None
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

        Its arguments are, later ones winning: the recipe's seed, the fields of `config` (a YAML file of the recipe's
        folder), the overrides of the round that `name` starts with (``"RLHF-V1/…"``), the `--set` ones, `arguments`.
        ``{variable}`` in any text among them is replaced; ``{recipe}`` is the recipe's folder.

        Raises:
            InputError: a missing or malformed file, an override of a field that the file does not have, or one of a
                field that the chain itself fills in.
        """
        fields = self._fields(config, name.partition("/")[0], arguments) if config else {}
        variables = {**self.variables, "recipe": str(self.folder)}
        merged = fill({"seed": self.seed, **fields, **arguments}, variables, f"step '{name}'")
        title = name.replace("/", " / ").replace("_", " ")
        return Step(name, module, plain(merged), Path(output or self.root / name), title)

    def _fields(self, config: str, round_name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        fields = read_yaml_mapping(self.folder / config)
        stage = config.removesuffix(".yaml")
        of_round = next((a_round.overrides for a_round in self.rounds if a_round.name == round_name), {})
        for key, value in {**of_round, **self.overrides}.items():
            file, _, name = key.partition(".")
            if file == stage and name in arguments:
                raise InputError(f"{key}: cannot be overridden, the chain '{self.chain}' fills it in")
            if file == stage:
                fields[name] = value
        return fields


def find_recipe(name: str | Path) -> Path:
    """Return the folder of a recipe, given as a folder or as the name of a packaged one. Raises InputError."""
    for folder in (Path(name), PACKAGED / name):
        if (folder / RECIPE_FILE).is_file():
            return folder.resolve()
    if Path(name).is_dir():
        raise InputError(f"{name}: holds no {RECIPE_FILE}, so it is no recipe")
    packaged = sorted(file.parent.name for file in PACKAGED.glob(f"*/{RECIPE_FILE}"))
    raise InputError(f"{name}: no such recipe folder{suggestion(str(name), packaged)}; packaged: {', '.join(packaged)}")


def read_recipe(name: str | Path, root: str | Path | None = None, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe and bind it to its output root (``runs/<name>`` when None), with `--set` texts applied.

    Raises:
        InputError: a missing file, an unknown key (with a suggestion), a value of the wrong kind, a bad setting.
    """
    folder = find_recipe(name)
    where = folder / RECIPE_FILE
    content = read_yaml_mapping(where)
    check_keys(content, set(_KINDS), str(where))
    _check_kinds(content, where)
    settings = tuple(absolute_path(setting, content.get("variables", {})) for setting in settings)
    overrides = _apply_settings(content, settings, folder)
    _check_kinds(content, where)
    content["variables"] = fill(content["variables"], content["variables"], str(where))  # one may lie in another
    return Recipe(
        folder=folder,
        root=Path(root or Path("runs") / content["name"]).resolve(),
        accelerate=_find_launch_config(content.pop("accelerate", None), folder),
        rounds=tuple(_read_round(each, where, folder) for each in content.pop("rounds", ())),
        listed_steps=tuple(content.pop("steps", ())),
        settings=settings,
        overrides=overrides,
        **content,
    )


def _check_kinds(content: dict[str, Any], where: Path) -> None:
    if "name" not in content:
        raise InputError(f"{where}: field 'name' is missing; expected a short name such as 'quickstart'")
    for key, value in content.items():
        if not isinstance(value, _KINDS[key]) or (isinstance(value, bool) and key != "gatt"):
            expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in _KINDS[key])
            raise InputError(f"{where}: field '{key}': found {value!r}; expected {expected}")
    chain = content.get("chain", CHAINS[0])
    if chain not in CHAINS:
        raise InputError(f"{where}: field 'chain': found '{chain}'; expected {' or '.join(CHAINS)}")


def _apply_settings(content: dict[str, Any], settings: Sequence[str], folder: Path) -> dict[str, Any]:
    """Put `--set` values of variables and of recipe fields into `content`; return those of stage files."""
    variables = content.setdefault("variables", {})
    overrides = {}
    for setting in settings:
        key, value = parse_setting(setting)
        if key in variables:
            variables[key] = value
        elif key in _SETTABLE:
            content[key] = value
        elif "." in key:
            check_override(key, folder, f"--set {setting}")
            overrides[key] = value
        else:
            known = [*variables, *_SETTABLE]
            raise InputError(
                f"--set {setting}: unknown variable '{key}'{suggestion(key, known)}; expected one of "
                f"{', '.join(known)}, or STAGE_FILE.field"
            )
    return overrides


def check_override(key: str, folder: Path, where: str) -> None:
    """Raise InputError unless `key` (``"ppo.learning_rate"``) names a stage file of `folder` and a field in it."""
    stage, _, name = key.partition(".")
    stages = {file.stem for file in folder.glob("*.yaml")} - {Path(RECIPE_FILE).stem}
    if stage not in stages:
        raise InputError(f"{where}: {folder} has no file '{stage}.yaml'{suggestion(stage, stages)}")
    fields = read_yaml_mapping(folder / f"{stage}.yaml")
    if name not in fields:
        raise InputError(f"{where}: {stage}.yaml has no field '{name}'{suggestion(name, fields)}; a new one goes there")


def _read_round(content: Any, where: Path, folder: Path) -> Round:
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise InputError(f"{where}: field 'rounds': found {content!r}; expected {{name: …, stages: […]}}")
    label = f"{where}: round '{content['name']}'"
    check_keys(content, {"name", "stages", "overrides"}, label)
    stages, overrides = content.get("stages", list(ROUND_STAGES)), content.get("overrides") or {}
    if not isinstance(stages, list) or not isinstance(overrides, dict):
        raise InputError(f"{label}: expected a list 'stages' and a mapping 'overrides'")
    check_keys(stages, set(ROUND_STAGES), f"{label}, stages")
    for key in overrides:
        check_override(str(key), folder, f"{label}, overrides")
    return Round(content["name"], tuple(stages), overrides)


def _find_launch_config(name: str | None, folder: Path) -> Path | None:
    if name is None:
        return None
    known = PACKAGED / "accelerate"
    for path in (known / f"{name}.yaml", folder / name, Path(name)):
        if path.is_file():
            return path.resolve()
    names = sorted(file.stem for file in known.glob("*.yaml"))
    raise InputError(
        f"accelerate: no launch config '{name}'{suggestion(name, names)}; expected a file or one of {', '.join(names)}"
    )
