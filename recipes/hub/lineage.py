"""How a checkpoint came to be: the stages that trained it, newest first, read from the `run.json` of each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat_model.errors import InputError
from chat_model.loading import TINY
from chat_model.stage import RUN_FILE

_DATA_FIELDS = ("dataset_name", "rehearsal_dataset_name", "prompts", "preferences", "preferences_of_earlier_rounds")
_SHOWN_FIELDS = (
    "learning_rate",
    "num_train_epochs",
    "num_iterations",
    "batch_size",
    "kl_coefficient",
    "use_peft",
    "seed",
)


@dataclass(frozen=True)
class Training:
    """One stage that trained a checkpoint."""

    folder: Path
    run: dict[str, Any]

    @property
    def started_from(self) -> str:
        """The model it began with, as its settings name it."""
        return str(self.run["arguments"].get("model_name_or_path", ""))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that a reader asks for first."""
        arguments = self.run["arguments"]
        return {name: arguments[name] for name in _SHOWN_FIELDS if arguments.get(name) is not None}

    @property
    def data(self) -> list[str]:
        """What it was trained on: hub ids whole, files and folders of this machine by their last two names."""
        return [public_name(source) for field in _DATA_FIELDS for source in _listed(self.run["arguments"].get(field))]


def lineage(checkpoint: str | Path) -> list[Training]:
    """Return the stages that led to `checkpoint`, the newest first, as far back as their folders stand.

    Raises:
        InputError: no stage of ours left this folder.
    """
    trainings = list(_walk_back(Path(checkpoint)))
    if not trainings:
        raise InputError(f"{checkpoint}: holds no {RUN_FILE}; expected the output folder of a training stage")
    return trainings


def _walk_back(folder: Path) -> Iterator[Training]:
    while folder.parts and (folder / RUN_FILE).is_file():
        training = Training(folder, json.loads((folder / RUN_FILE).read_text(encoding="utf-8")))
        yield training
        folder = _where_it_stands(training)


def _where_it_stands(training: Training) -> Path:
    """Return the folder of the model that a stage began with, also when the whole run was moved since."""
    named = Path(training.started_from)
    if not named.is_absolute():
        return named
    moved = (parent / Path(*named.parts[-depth:]) for parent in training.folder.parents[:3] for depth in (2, 1))
    others = (folder for folder in (named, *moved) if folder != training.folder)
    return next((folder for folder in others if (folder / RUN_FILE).is_file()), named)


def base_model(trainings: list[Training]) -> str | None:
    """Return the hub id that all of it began with; None for a model of this machine."""
    name = trainings[-1].started_from
    return None if not name or name.startswith(TINY) or is_local(name) else name


def is_local(name: str) -> bool:
    """Whether `name` is a path of this machine (or of the one that trained) rather than a hub id."""
    return Path(name).is_absolute() or Path(name).exists() or name.count("/") > 1


def public_name(source: str) -> str:
    """Return a hub id as it is, and of a path only its last two names."""
    return "/".join(Path(source).parts[-2:]) if is_local(source) else source


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])
