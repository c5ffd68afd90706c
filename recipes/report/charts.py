"""Which numbers of a run go into which picture; a picture whose numbers are missing is None or not listed.

`plots` knows how to draw and nothing of stages; this file knows the stages' metrics and nothing of drawing.
"""

from typing import Any

from markupsafe import Markup

from recipes import results
from recipes.report import plots
from recipes.results import FinishedStep

Steps = dict[str, FinishedStep]
Rows = list[dict[str, Any]]

_SHOWN_SCORES = ("helpfulness", "safety", "unsafe")  # in points or per cent, so that they share an axis
_PPO_PICTURES = (  # caption, label of the y axis, metrics drawn together
    ("Reward of the iteration's answers.", "reward", ("reward",)),
    ("Reward of the answers to held-out prompts.", "reward", ("held_out_reward",)),
    (
        "What the judge says of those answers; nothing is trained on it.",
        "points",
        ("held_out_helpfulness_grade", "held_out_safety_grade", "held_out_unsafe_grade"),
    ),
    ("Scores of the two reward models.", "score", ("score_helpfulness", "score_safety")),
    ("Length of the answers.", "tokens", ("response_length",)),
    ("Distance from the start of the stage, by two estimators.", "KL, nats", ("kl_k1", "kl_k3")),
    ("Entropy of the policy.", "nats a token", ("entropy",)),
    ("How much of the returns the critic explains.", "explained variance", ("explained_variance",)),
)


def scores_by_round(steps: Steps, evaluation: str = "evaluation") -> Markup | None:
    """Helpfulness, safety and unsafe answers of every checkpoint that the step `evaluation` scored."""
    checkpoints = _evaluation(steps, "checkpoints", evaluation)
    shown = {name: _only(scores, _SHOWN_SCORES) for name, scores in checkpoints.items()}
    return plots.grouped_bars(shown, y="points", label="scores by round") if any(shown.values()) else None


def win_rates(steps: Steps) -> Markup | None:
    """Win rates over the fixed opponent and, where measured, over the checkpoint before, with their intervals."""
    rates = _evaluation(steps, "win_rates").items()
    contests = [(name, versus) for name, each in rates for versus in (each, each.get("over_previous")) if versus]
    rows = {f"{name} over {versus['against']}": (versus["win_rate"], versus) for name, versus in contests}
    return plots.intervals({"": rows}, x="win rate, %", label="win rates", chance=0.5) if rows else None


def accuracy_by_rating(steps: Steps) -> Markup | None:
    """Accuracy of the newest reward models, by rating."""
    series = {}
    for domain, step in results.latest_reward_models(steps).items():
        buckets = step.metrics.get("accuracy", {})
        series[domain] = {rating.replace("_", " "): (bucket["accuracy"], bucket) for rating, bucket in buckets.items()}
    series = {domain: rows for domain, rows in series.items() if rows}
    return plots.intervals(series, x="accuracy, %", label="reward model accuracy", chance=0.5) if series else None


def best_of_n(steps: Steps) -> list[tuple[str, Markup]]:
    """For every round that sampled: the maximum, mean and median reward against the number of samples."""
    pictures = []
    for name, step in steps.items():
        curve = step.metrics.get("reward_by_n")
        if curve:
            lines = {kind: (curve["n"], curve[kind]) for kind in ("max", "mean", "median") if kind in curve}
            svg = plots.line_chart(lines, x="samples a prompt", y="reward", label=f"best of N, {name}", log_x=True)
            pictures.append((name, svg))
    return pictures


def judged_best_of_n(steps: Steps) -> list[tuple[str, Markup]]:
    """For every round whose samples a judge graded, in points: what the reward chooses of N, the judge, and chance.

    Its caption says whether choosing among more samples made answers worse beyond chance.
    """
    pictures = []
    for name, step in steps.items():
        curve = step.metrics.get("judged_by_n")
        if curve:
            kinds = {"chosen": "chosen by reward", "best": "chosen by the judge", "mean": "any"}
            lines = {shown: (curve["n"], [100 * grade for grade in curve[kind]]) for kind, shown in kinds.items()}
            label = f"judged best of N, {name}"
            svg = plots.line_chart(lines, x="samples a prompt", y="judge's grade, points", label=label, log_x=True)
            pictures.append((f"{name}: {_fall(curve)}", svg))
    return pictures


def _fall(curve: dict[str, Any]) -> str:
    """Say how the reward's choice of all samples compares with its choice at the best number of them."""
    most, fall = curve["n"][-1], curve["fall_from_peak"]
    if fall["n"] == most:
        return f"the judge likes the reward's choice best at all {most} samples."
    found = "more choice made answers worse" if fall["high"] < 0 else "no fall beyond chance"
    low, high, difference = (100 * fall[key] for key in ("low", "high", "difference"))
    return (
        f"the judge likes the reward's choice best at {fall['n']} of {most} samples; with all of them it is "
        f"{difference:+.1f} points away (95 %: {low:+.1f} to {high:+.1f}): {found}."
    )


def ppo_curves(rows: Rows) -> list[tuple[str, Markup]]:
    """The metrics of PPO against its iterations, with the caption of each picture."""
    pictures = []
    for caption, y, names in _PPO_PICTURES:
        lines = {name.replace("_", " "): _against_iteration(rows, name) for name in names}
        lines = {name: line for name, line in lines.items() if line[0]}
        if lines:
            pictures.append((caption, plots.line_chart(lines, x="iteration", y=y, label=f"PPO {caption}")))
    return pictures


def kl_against_reward(rows: Rows) -> Markup | None:
    """The path of PPO through KL (k1) and reward."""
    measured = [row for row in rows if "kl_k1" in row and "reward" in row]
    along, rewards = [row["kl_k1"] for row in measured], [row["reward"] for row in measured]
    if not measured:
        return None
    return plots.path_chart(along, rewards, x="KL from the start, nats", y="reward", label="KL against reward")


def adherence_by_turn(steps: Steps) -> Markup | None:
    """Adherence to a first-turn instruction, before and after GAtt."""
    names = {"baseline": "before GAtt", "gatt": "after GAtt", "end": "after the last round"}
    curves = {names[label]: by_turn for label, by_turn in results.adherence(steps).items() if by_turn}
    return plots.adherence_chart(curves, label="adherence by turn") if curves else None


def seconds_by_step(steps: Steps) -> Markup | None:
    """How long each finished step took."""
    seconds = {name: float(step.run.get("seconds", 0.0)) for name, step in steps.items()}
    return plots.horizontal_bars(seconds, x="seconds", label="seconds by step") if seconds else None


def _evaluation(steps: Steps, metric: str, step: str = "evaluation") -> dict[str, Any]:
    return steps[step].metrics.get(metric, {}) if step in steps else {}


def _only(scores: dict[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    return {name: scores[name] for name in names if scores.get(name) is not None}


def _against_iteration(rows: Rows, name: str) -> tuple[list[float], list[float]]:
    measured = [(row.get("iteration", index), row[name]) for index, row in enumerate(rows) if row.get(name) is not None]
    return [at for at, _ in measured], [value for _, value in measured]
