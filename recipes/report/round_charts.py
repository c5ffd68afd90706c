"""Which numbers of a run's evaluation go into the pictures that set its rounds side by side.

As in `charts`, a picture whose numbers are missing is None; runs of an earlier version lack some.
"""

from typing import Any

from markupsafe import Markup

from recipes import results
from recipes.report import plots, round_plots
from recipes.results import FinishedStep

Steps = dict[str, FinishedStep]
Contest = dict[str, Any]  # a row of the evaluation's `contests`

_REFUSALS = {  # grade of the judge -> what it counts
    "refusal": "dangerous requests refused",
    "unsafe": "dangerous requests complied with",
    "false_refusal": "harmless ones refused",
    "borderline_refusal": "borderline ones refused",
}


def win_rates_over_first(steps: Steps) -> Markup | None:
    """Win rates of every checkpoint over the first one, by the judge and by the reward models."""
    rows = _contests(steps)
    first = rows[0]["against"] if rows else None
    return _win_rates([row for row in rows if row["against"] == first], f"win rate over {first}, %")


def win_rates_over_previous(steps: Steps) -> Markup | None:
    """Win rates of every checkpoint over the one before it, by the judge and by the reward models."""
    rows = _contests(steps)
    previous = {row["name"]: row["against"] for row in rows}  # the last opponent of each is the one before it
    own = [row for row in rows if row["against"] == previous[row["name"]]]
    return _win_rates(own, "win rate over the checkpoint before, %")


def win_rate_planes(steps: Steps) -> list[tuple[str, Markup]]:
    """For each that decides: every checkpoint's win rates over the first one, on helpful and on safety prompts."""
    rows = _contests(steps)
    found = []
    for by in dict.fromkeys(row["by"] for row in rows):
        own = [row for row in rows if row["by"] == by and row["against"] == rows[0]["against"]]
        helpfulness, safety = (
            {row["name"]: _share(row) for row in own if row["prompts"] == kind} for kind in ("helpfulness", "safety")
        )
        points = {name: (rate, safety[name]) for name, rate in helpfulness.items() if name in safety}
        if points:
            x, y = (f"{kind}: win rate over {rows[0]['against']}, %" for kind in ("helpfulness", "safety"))
            found.append((by, round_plots.plane(points, x=x, y=y, label=f"helpfulness against safety, {by}")))
    return found


def reward_distributions(steps: Steps) -> list[tuple[str, Markup]]:
    """For each reward model: how its scores of every checkpoint's answers to prompts of its kind are distributed."""
    rows = steps["evaluation"].rows("responses.jsonl") if "evaluation" in steps else []
    found = []
    for kind, is_safety in (("helpfulness", False), ("safety", True)):
        scores: dict[str, list[float]] = {}
        for row in rows:
            if bool(row.get("is_safety")) is is_safety:
                for name, grades in row.get("scores", {}).items():
                    scores.setdefault(name, []).extend(grades[key] for key in [f"reward_{kind}"] if key in grades)
        if any(scores.values()):
            measured = {name: values for name, values in scores.items() if values}
            x = f"score of the newest {kind} reward model"
            found.append((kind, round_plots.distributions(measured, x=x, label=f"rewards by round, {kind}")))
    return found


def divergence(steps: Steps) -> Markup | None:
    """How far every checkpoint's answers are from the first one's, in nats a response."""
    return _by_checkpoint(steps, {"kl": "KL"}, "nats a response", "KL by round")


def lengths(steps: Steps) -> Markup | None:
    """The mean length of every checkpoint's answers."""
    return _by_checkpoint(steps, {"length": "length"}, "tokens a response", "length by round")


def refusals(steps: Steps) -> Markup | None:
    """Which requests every checkpoint refuses: dangerous ones, as it should, and others, as it should not."""
    return _by_checkpoint(steps, _REFUSALS, "% of the prompts of that kind", "refusals by round")


def reward_models_by_round(steps: Steps) -> list[tuple[str, Markup, str]]:
    """For each domain: the accuracy of every round's reward model on every round's held-out preferences.

    The sentence beside it names those that were weaker than the model of the round before; it may be empty.
    """
    found = []
    for domain, table in results.by_round(steps).items():
        shares = {
            model: {name: cell["accuracy"] for name, cell in cells.items() if cell["accuracy"] is not None}
            for model, cells in table.items()
        }
        axes = {"x": "preferences of", "y": "reward model of"}
        svg = round_plots.table_of_shares(shares, **axes, label=f"{domain} accuracy by round")
        found.append((domain, svg, _weaker_models(steps, domain)))
    return found


def _weaker_models(steps: Steps, domain: str) -> str:
    measured = results.against_earlier(steps)
    own = {name: each for name, each in measured.items() if name.endswith(f"{domain}_reward_model") and each["weaker"]}
    told = [
        f"{name.rpartition('/')[0]} ({each['accuracy']:.0%} of all held-out pairs against "
        f"{each['accuracy_of_earlier']:.0%}; {each['kept']} one used)"
        for name, each in own.items()
    ]
    return f"Weaker than the model of the round before: {', '.join(told)}." if told else ""


def _contests(steps: Steps) -> list[Contest]:
    return _metric(steps, "contests") or []


def _metric(steps: Steps, name: str) -> Any:
    return steps["evaluation"].metrics.get(name) if "evaluation" in steps else None


def _win_rates(rows: list[Contest], x: str) -> Markup | None:
    series: dict[str, dict[str, tuple[float, plots.Interval]]] = {}
    for row in rows:
        if row["prompts"] == "all":
            series.setdefault(row["by"], {})[row["name"]] = _share(row)
    return plots.intervals(series, x=x, label=x, chance=0.5) if series else None


def _share(row: Contest) -> tuple[float, plots.Interval]:
    return row["win_rate"], {"low": row["low"], "high": row["high"]}


def _by_checkpoint(steps: Steps, quantities: dict[str, str], y: str, label: str) -> Markup | None:
    checkpoints, intervals = _metric(steps, "checkpoints") or {}, _metric(steps, "intervals") or {}
    lines: dict[str, dict[str, tuple[float, plots.Interval]]] = {}
    for key, shown in quantities.items():
        for name, scores in checkpoints.items():
            if scores.get(key) is not None:
                bounds = dict(zip(("low", "high"), intervals.get(name, {}).get(key, ()), strict=False))
                lines.setdefault(shown, {})[name] = (scores[key], bounds)
    return round_plots.by_checkpoint(lines, y=y, label=label) if lines else None
