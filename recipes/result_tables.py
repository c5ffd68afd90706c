"""The tables that a finished run ends with in the terminal: what `results.json` says, in brief."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_STAGE_COLUMNS = ("helpfulness", "safety", "unsafe")


def result_tables(results: Mapping[str, Any]) -> list[Table]:
    """Return a table for each part of `results` (the content of `results.json`) that holds anything."""
    tables = [
        _stages(results.get("stages") or {}),
        _reward_models(results.get("reward_models") or {}),
        *_reward_models_by_round(results.get("reward_models_by_round") or {}),
        _against_earlier(results.get("against_earlier") or {}),
        _adherence(results.get("gatt") or {}),
    ]
    return [table for table in tables if table.row_count]


def _stages(stages: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("Checkpoints on held-out prompts", "stage", *_STAGE_COLUMNS, "win rate")
    for name, scores in stages.items():
        wins = [f"{value:.0%} over {key[12:]}" for key, value in scores.items() if key.startswith("win_rate_vs_")]
        table.add_row(name, *(_points(scores.get(column)) for column in _STAGE_COLUMNS), ", ".join(wins) or "–")
    return table


def _reward_models(models: Mapping[str, Mapping[str, Any]]) -> Table:
    return _by_rating("model", {name: model["accuracy"] for name, model in models.items()})


def accuracy_table(by_domain: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Return the accuracies of one reward model's evaluation, ``{domain: {rating: {"accuracy", …}}}``."""
    shares = {domain: {rating: row["accuracy"] for rating, row in rows.items()} for domain, rows in by_domain.items()}
    return _by_rating("domain", shares)


def safety_table(checkpoints: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the rates of a safety evaluation, ``{checkpoint: {"violations", "false_refusals", …}}``."""
    categories = list(next(iter(checkpoints.values()))["violations"]["by_category"])
    table = _table("Unsafe answers", "model", "all (95 %)", *map(_words, categories), "false refusals (95 %)")
    for name, measured in checkpoints.items():
        unsafe = measured["violations"]
        own = [_share(unsafe["by_category"].get(each, {}).get("share")) for each in categories]
        table.add_row(name, _with_interval(unsafe["all"]), *own, _with_interval(measured["false_refusals"]["all"]))
    return table


def _with_interval(found: Mapping[str, float]) -> str:
    return f"{_share(found['share'])} ({_share(found['low'])} – {_share(found['high'])})"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _by_rating(first: str, shares: Mapping[str, Mapping[str, float]]) -> Table:
    ratings = list(dict.fromkeys(rating for row in shares.values() for rating in row))
    table = _table("Reward model accuracy by rating", first, *(rating.replace("_", " ") for rating in ratings))
    for name, row in shares.items() if ratings else ():
        table.add_row(name, *(_share(row.get(rating)) for rating in ratings))
    return table


def _reward_models_by_round(domains: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Table]:
    tables = []
    for domain, models in domains.items():
        rounds = list(dict.fromkeys(name for cells in models.values() for name in cells))
        table = _table(f"{domain} reward models on the preferences of each round", "model of", *rounds)
        for name, cells in models.items():
            table.add_row(name, *(_share(cells.get(each, {}).get("accuracy")) for each in rounds))
        tables.append(table)
    return tables


def _against_earlier(steps: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = ("held-out pairs", "new", "of the round before", "chance", "kept")
    table = _table("Reward models against those of the round before", "model", *columns)
    for name, found in steps.items():
        shares = (_share(found[key]) for key in ("accuracy", "accuracy_of_earlier"))
        table.add_row(name, str(found["count"]), *shares, f"{found['chance']:.2g}", found["kept"])
    return table


def _adherence(gatt: Mapping[str, Any]) -> Table:
    table = _table("Adherence to the first instruction", "model", *(f"turn {turn}" for turn in gatt.get("turns", ())))
    for label, shares in gatt.items():
        if label != "turns":
            table.add_row(label, *map(_share, shares))
    return table


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
