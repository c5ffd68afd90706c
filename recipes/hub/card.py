"""The model card of a chat checkpoint: base, data, recipe and evaluation, all read from what its stages recorded."""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from recipes.hub.evaluation import find_evaluation
from recipes.hub.lineage import Training, base_model, is_local, lineage, public_name

_TEMPLATE = Path(__file__).with_name("card.jinja")


def chat_card(checkpoint: str | Path, name: str) -> ModelCard:
    """Return the card of a chat checkpoint that is to be called `name` on the hub.

    Raises:
        InputError: no stage of ours left this folder.
    """
    trainings = lineage(checkpoint)
    evaluation = find_evaluation(Path(checkpoint))
    return ModelCard.from_template(
        _data(name, trainings),
        template_path=str(_TEMPLATE),
        name=name,
        base=base_model(trainings) or public_name(trainings[-1].started_from),
        trainings=[_row(training) for training in trainings],
        grades=evaluation.get("grades", {}),
        win_rate=evaluation.get("win_rate"),
        versions=trainings[0].run["versions"],
    )


def _data(name: str, trainings: list[Training]) -> ModelCardData:
    sources = dict.fromkeys(source for training in trainings for source in training.data if not is_local(source))
    return ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["rlhf", "trl", "rounds"],
        base_model=base_model(trainings),
        datasets=[source for source in sources if "." not in Path(source).name] or None,
    )


def _row(training: Training) -> dict[str, Any]:
    return {
        "step": "/".join(training.folder.resolve().parts[-2:]),
        "stage": training.run["stage"],
        "data": ", ".join(training.data),
        "settings": ", ".join(f"{field}: {value}" for field, value in training.settings.items()),
    }
