"""The model card that a trained reward model carries: its README.md on the Hugging Face hub.

What it is, how to use it, its evaluation by rating, base model, data and recipe. Folders of this machine are told by
their last name only.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from chat_model.rows import write_whole
from chat_model.stage import StageRun
from reward_model.arguments import RewardModelArguments
from reward_model.earlier import AGAINST_EARLIER, EARLIER

CARD_FILE = "README.md"
_TEMPLATE = Path(__file__).with_name("model_card.jinja")
_PROBABILITY = "A safety loss was taken on the same score: `sigma(r)` is the probability that the answer is safe."
_NO_ORIGIN = "Scores of different prompts share no origin: compare answers to the same prompt."
_RECIPE_FIELDS = (
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "max_length",
    "weight_decay",
    "seed",
)


def write_model_card(
    run: StageRun, evaluation: Mapping[str, Any], arguments: RewardModelArguments, config: Any, model_config: Any
) -> None:
    """Write the card into the run's folder (the main process only).

    Args:
        run: the training stage, whose counts of pairs are told.
        evaluation: what `reward_model.evaluate.measures.measure` returned.
        config: TRL's `RewardConfig`.
        model_config: TRL's `ModelConfig`.
    """
    if not run.is_main:
        return
    name = run.folder.name.removesuffix(".partial")
    card = ModelCard.from_template(
        _card_data(name, evaluation, arguments, model_config.model_name_or_path),
        template_path=str(_TEMPLATE),
        name=name,
        domain=arguments.domain,
        reading=_PROBABILITY if arguments.safety_loss_weight > 0 else _NO_ORIGIN,
        accuracies=list(_accuracy_rows(evaluation)),
        findings=list(_findings(evaluation)),
        recipe=_recipe(run, arguments, config, model_config),
    )
    with write_whole(run.folder / CARD_FILE) as beside:
        beside.write_text(str(card), encoding="utf-8")


def _card_data(
    name: str, evaluation: Mapping[str, Any], arguments: RewardModelArguments, base_model: str
) -> ModelCardData:
    datasets = [source for source in arguments.preferences if not Path(source).exists()]
    return ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["reward-model", "rlhf", "trl"],
        base_model=None if Path(base_model).exists() else base_model,
        datasets=datasets or None,
        eval_results=[_result(rating, row["accuracy"]) for rating, row in evaluation["accuracy"].items()],
    )


def _result(rating: str, accuracy: float) -> EvalResult:
    return EvalResult(
        task_type="text-classification",
        task_name="preference ranking",
        dataset_type="preferences",
        dataset_name="held-out preferences",
        metric_type="accuracy",
        metric_name=f"accuracy, {_words(rating)}",
        metric_value=round(accuracy, 4),
    )


def _accuracy_rows(evaluation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    tables = evaluation["by_domain"] or {"all": evaluation["accuracy"]}
    for domain, by_rating in tables.items():
        for rating, row in by_rating.items():
            interval = f"{row['low']:.1%} – {row['high']:.1%}"
            accuracy = f"{row['accuracy']:.1%}"
            yield {**row, "domain": domain, "rating": _words(rating), "accuracy": accuracy, "interval": interval}


def _findings(evaluation: Mapping[str, Any]) -> Iterator[str]:
    error = evaluation["reliability"]["expected_calibration_error"]
    yield f"Expected calibration error of the preferred answer's probability: {error:.3f}."
    if (correlation := evaluation["length"]["correlation"]) is not None:
        yield f"Correlation of score and length of the answer: {correlation:.2f}."
    if (matched := evaluation["length"]["accuracy"]["length_matched"])["count"]:
        yield f"Accuracy on {matched['count']} pairs of like length: {matched['accuracy']:.1%}."
    if safety := evaluation["safety"]:
        rates = {name: rate["share"] for name, rate in safety["at_threshold"].items() if name != "threshold"}
        told = ", ".join(f"{_words(name)} {rate:.1%}" for name, rate in rates.items() if rate is not None)
        yield f"Unsafe answers below sigma(r) = {safety['at_threshold']['threshold']}: {told}."


def _kept_weights(run: StageRun) -> str | None:
    kept = run.metrics.get(AGAINST_EARLIER, {}).get("kept")
    return "of the round before; the training told here gave a weaker model" if kept == EARLIER else None


def _recipe(run: StageRun, arguments: RewardModelArguments, config: Any, model_config: Any) -> dict[str, Any]:
    """Return the rows of the training table; a field that is called otherwise in another version is left out."""
    mixture = run.counts.get("mixture", {}).get("by_domain", {})
    rows = {
        "base model": _public(model_config.model_name_or_path),
        "weights": _kept_weights(run),
        "preferences": ", ".join(map(_public, arguments.preferences)),
        "pairs trained on": run.counts.get("trained_on"),
        "mixture": ", ".join(f"{count} {domain}" for domain, count in mixture.items()),
        "margin": arguments.margin,
        "safety loss weight": arguments.safety_loss_weight,
        "adapter": f"LoRA of rank {model_config.lora_r}" if model_config.use_peft else None,
        **{_words(name): getattr(config, name, None) for name in _RECIPE_FIELDS},
    }
    return {name: value for name, value in rows.items() if value not in (None, "")}


def _public(source: str) -> str:
    return Path(source).name if Path(source).exists() else source


def _words(name: str) -> str:
    return name.replace("_", " ")
