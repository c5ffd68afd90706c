"""`report.html`: everything a run measured on one self-contained page, in the order of the paper's own evaluation.

The page needs no network and no script. Text from models and datasets is data: the template escapes it, every time.
A part whose steps a recipe does not have, or has not finished, is left out.
"""

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from chat_model.rows import write_whole
from recipes.bars import Bar, bars_of
from recipes.report import charts, round_charts
from recipes.report.safety_trend import safety_trend
from recipes.report.samples import Sample, most_changed
from recipes.results import FinishedStep, gather, read_steps

REPORT_FILE = "report.html"
NUM_SAMPLES = 12


@dataclass(frozen=True)
class Picture:
    """One chart and the sentence that says how to read it."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading, what the pictures under it are about, and the pictures."""

    title: str
    text: str
    pictures: list[Picture]


def write_report(root: str | Path) -> Path:
    """Write ``report.html`` into the run's folder `root` from what its finished steps left there; return its path."""
    root = Path(root)
    steps = read_steps(root)
    path = root / REPORT_FILE
    with write_whole(path) as beside:
        beside.write_text(_render(_recipe_name(root), steps), encoding="utf-8")
    return path


def _recipe_name(root: Path) -> str | None:
    path = root / "recipe.json"
    return json.loads(path.read_text(encoding="utf-8")).get("name") if path.is_file() else None


def _render(recipe: str | None, steps: dict[str, FinishedStep]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recipes.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    results = gather(steps)
    evaluation = steps.get("evaluation")
    bars: list[Bar] = bars_of(recipe, results)
    samples: list[Sample] = most_changed(evaluation.rows("responses.jsonl"), NUM_SAMPLES) if evaluation else []
    return environment.get_template("template.html").render(
        recipe=recipe or "a recipe",
        command="rounds quickstart" if recipe == "quickstart" else f"rounds run {recipe or 'RECIPE_FOLDER'}",
        results=results,
        bars=bars,
        table=_table(results["stages"]),
        sections=[section for section in _sections(steps) if section.pictures],
        samples=samples,
        steps=list(steps.values()),
        provenance=_provenance(steps),
    )


def _table(stages: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return heading and rows of what was measured of every checkpoint; grades are in points, win rates in per cent."""
    columns = list(dict.fromkeys(column for scores in stages.values() for column in scores))
    heading = ["checkpoint", *("KL" if column == "kl" else column.replace("_", " ") for column in columns)]
    return [
        heading,
        *([name, *(_shown(column, scores.get(column)) for column in columns)] for name, scores in stages.items()),
    ]


def _shown(column: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    return f"{value:.0%}" if column.startswith("win_rate") else f"{value:.1f}"


def _provenance(steps: dict[str, FinishedStep]) -> dict[str, str]:
    """Return what one needs to run the same again: seeds, versions, machine and dates."""
    runs = [step.run for step in steps.values()]
    seeds = dict.fromkeys(str(run["config"]["seed"]) for run in runs if "seed" in run.get("config", {}))
    versions = {package: version for run in runs for package, version in run.get("versions", {}).items()}
    finished = sorted(run["finished"] for run in runs if run.get("finished"))
    facts = {
        "seed": ", ".join(seeds),
        "versions": ", ".join(f"{package} {version}" for package, version in versions.items()),
        "report written on": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        "finished": finished[-1] if finished else "",
    }
    return {name: value for name, value in facts.items() if value}


def _sections(steps: dict[str, FinishedStep]) -> list[Section]:
    return [
        _section(
            "Round by round",
            "Every checkpoint on held-out prompts, scored by the recipe's own judge, which takes no part in training.",
            (charts.scores_by_round(steps), "Higher is better, except for unsafe answers."),
            *_win_rate_pictures(steps),
        ),
        *_round_sections(steps),
        _safety_section(steps),
        *_reward_model_sections(steps),
        _section(
            "Rejection sampling",
            "The gap between the best and the median of N samples is the gain to be had. Where the reward of the best "
            "rises and the judge's grade of it falls, the reward model is being exploited.",
            *((svg, f"{name}: reward against samples a prompt.") for name, svg in charts.best_of_n(steps)),
            *((svg, caption) for caption, svg in charts.judged_best_of_n(steps)),
        ),
        *(_ppo_section(steps, step) for step in steps.values() if step.kind == "ppo"),
        _section(
            "Ghost attention",
            "An instruction given in the first turn only, asked for at later turns of held-out dialogues.",
            (charts.adherence_by_turn(steps), "Share of replies that follow it; bands are 95 % intervals."),
        ),
        _section("Time", "Where the seconds went.", (charts.seconds_by_step(steps), "Seconds of each finished step.")),
    ]


def _safety_section(steps: dict[str, FinishedStep]) -> Section:
    return _section(
        "Safety",
        "Held-out adversarial prompts in several styles, and borderline ones that should be answered.",
        (safety_trend(steps), "Unsafe answers and false refusals, with 95 % intervals; lower is better."),
    )


def _win_rate_pictures(steps: dict[str, FinishedStep]) -> list[tuple[Markup | None, str]]:
    """By judge and by reward models where both were recorded; else those of the judge."""
    caption = "Share of held-out prompts won, with 95 % intervals; dotted: a draw."
    over_first = round_charts.win_rates_over_first(steps)
    if over_first is None:
        return [(charts.win_rates(steps), caption)]
    return [(over_first, caption), (round_charts.win_rates_over_previous(steps), caption)]


def _round_sections(steps: dict[str, FinishedStep]) -> list[Section]:
    planes = round_charts.win_rate_planes(steps)
    kinds = {"helpfulness": "ordinary prompts", "safety": "dangerous ones"}
    return [
        _section(
            "Helpfulness against safety",
            "Win rates over the first checkpoint on helpful and on safety prompts: up and to the right is better.",
            *((svg, f"Decided by the {by}, with 95 % intervals; dotted: a draw.") for by, svg in planes),
        ),
        _section(
            "What changed from round to round",
            "A reward that rises while length or distance from the start run away is a reward that is being gamed.",
            *(
                (svg, f"Scores of the {kind} model on answers to {kinds[kind]}; the mark is the mean.")
                for kind, svg in round_charts.reward_distributions(steps)
            ),
            (round_charts.divergence(steps), "Distance from the first checkpoint, on the checkpoint's own answers."),
            (round_charts.lengths(steps), "Length of the answers."),
            (round_charts.refusals(steps), "Refusals by kind of request; borderline ones only look dangerous."),
        ),
    ]


def _reward_model_sections(steps: dict[str, FinishedStep]) -> list[Section]:
    newest = "Newest models, own domain, with 95 % intervals; dotted: chance."
    return [
        _section(
            "Reward models",
            "Held-out pairs ranked as the annotator ranked them. It should be easiest where the answers differ most.",
            (charts.accuracy_by_rating(steps), newest),
        ),
        _section(
            "Reward models by round",
            "Accuracy on held-out preferences. A row that falls to the right is a model left behind by the policy.",
            *(
                (svg, f"The {domain} models, % of the pairs of their domain ranked as the annotator did. {replaced}")
                for domain, svg, replaced in round_charts.reward_models_by_round(steps)
            ),
        ),
    ]


def _ppo_section(steps: dict[str, FinishedStep], step: FinishedStep) -> Section:
    rows, gain = step.rows("metrics.jsonl"), charts.scores_by_round(steps, f"{step.name}_gain")
    return _section(
        f"PPO · {step.name}",
        "What the policy was rewarded for, what it paid in distance from its start, and whether length ran away.",
        (gain, "The policy that PPO went on from and the one it left, on held-out prompts."),
        *((svg, caption) for caption, svg in charts.ppo_curves(rows)),
        (charts.kl_against_reward(rows), "KL against reward, iteration by iteration, pale at the start."),
    )


def _section(title: str, text: str, *pictures: tuple[Markup | None, str]) -> Section:
    return Section(title, text, [Picture(svg, caption) for svg, caption in pictures if svg is not None])
