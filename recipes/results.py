"""What a finished run measured: the steps' `run.json` files gathered into one `results.json`.

The numbers answer what the paper reports of its runs: helpfulness, safety and win rate of every round (Figure 11),
reward model accuracy by rating (Table 8), adherence by turn (Table 30). All of it was recorded by the stages.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat_model.rows import read_rows, write_json

RESULTS_FILE = "results.json"
REWARD_MODEL = "reward_model"
ADHERENCE = {"baseline": "adherence_before", "gatt": "adherence_after", "end": "adherence_at_the_end"}  # kinds of steps
PAPER_TURNS = (2, 4, 6, 20)


@dataclass(frozen=True)
class FinishedStep:
    """One stage output under the run's folder; `name` is its path there, such as ``RLHF-V1/policy``."""

    name: str
    folder: Path
    run: dict[str, Any]

    @property
    def metrics(self) -> dict[str, Any]:
        """The final numbers that the stage recorded."""
        return self.run.get("metrics", {})

    @property
    def kind(self) -> str:
        """The last part of the name: what the step does, in whichever round."""
        return self.name.rsplit("/", 1)[-1]

    def rows(self, file: str) -> list[dict[str, Any]]:
        """Return the rows of one of the step's JSONL files; none when it wrote no such file."""
        path = self.folder / file
        return [row for _, row in read_rows(path)] if path.is_file() else []


def read_steps(root: str | Path) -> dict[str, FinishedStep]:
    """Return the finished steps under `root` by name, in the order in which they finished."""
    root = Path(root)
    steps = []
    for file in root.rglob("run.json"):
        name = file.parent.relative_to(root).as_posix()
        if not _is_unfinished(name):
            steps.append(FinishedStep(name, file.parent, json.loads(file.read_text(encoding="utf-8"))))
    return {step.name: step for step in sorted(steps, key=lambda step: (str(step.run.get("finished")), step.name))}


def _is_unfinished(name: str) -> bool:
    return any(part.endswith((".partial", ".old")) for part in name.split("/"))


def write_results(root: str | Path) -> Path:
    """Write what the steps under `root` measured to ``results.json`` there, whole or not at all; return its path."""
    path = Path(root) / RESULTS_FILE
    write_json(path, gather(read_steps(root)))
    return path


def gather(steps: dict[str, FinishedStep]) -> dict[str, Any]:
    """Return the content of `results.json`; parts whose steps are missing stay empty.

    Seconds are the stages' own; `helpfulness`, `safety` and `unsafe` are in points (0 to 100), win rates, accuracies
    and adherence are shares (0 to 1). Four parts are there only when measured: `intervals` (95 %, of what `stages`
    says), `contests` (win rates by judge and by reward models), `reward_models_by_round` and `against_earlier`.
    """
    evaluation = steps["evaluation"].metrics if "evaluation" in steps else {}
    measured = {
        "intervals": evaluation.get("intervals"),
        "contests": evaluation.get("contests"),
        "reward_models_by_round": by_round(steps),
        "against_earlier": against_earlier(steps),
    }
    return {
        "seconds": _seconds(steps),
        "stages": _stages(evaluation),
        "reward_models": _reward_models(steps),
        "gatt": _adherence(steps),
        **{name: part for name, part in measured.items() if part},
    }


def _seconds(steps: dict[str, FinishedStep]) -> dict[str, float]:
    seconds = {name: float(step.run.get("seconds", 0.0)) for name, step in steps.items()}
    return {"total": round(sum(seconds.values()), 2), **seconds}


def _stages(evaluation: dict[str, Any]) -> dict[str, Any]:
    stages = {name: dict(scores) for name, scores in evaluation.get("checkpoints", {}).items()}
    for name, versus in evaluation.get("win_rates", {}).items():
        stages.setdefault(name, {})[f"win_rate_vs_{versus['against']}"] = versus["win_rate"]
    return stages


def latest_reward_models(steps: dict[str, FinishedStep]) -> dict[str, FinishedStep]:
    """Return the newest reward model of each kind: ``helpfulness`` and ``safety``, or ``general`` for a single one."""
    models = [step for step in steps.values() if step.kind.endswith(REWARD_MODEL)]
    return {step.kind.removesuffix(REWARD_MODEL).rstrip("_") or "general": step for step in models}


def _reward_models(steps: dict[str, FinishedStep]) -> dict[str, Any]:
    models = {}
    for domain, step in latest_reward_models(steps).items():
        own, by_domain = (step.metrics.get(part, {}) for part in ("accuracy", "by_domain"))
        models[domain] = {
            "accuracy": {rating: bucket["accuracy"] for rating, bucket in own.items()},
            "by_domain": {name: buckets["all"]["accuracy"] for name, buckets in by_domain.items()},
        }
    return models


def by_round(steps: dict[str, FinishedStep]) -> dict[str, Any]:
    """Return ``{domain: {round of the reward models: {round of the preferences: accuracy with interval}}}``."""
    return steps["reward_models_by_round"].metrics["by_round"] if "reward_models_by_round" in steps else {}


def against_earlier(steps: dict[str, FinishedStep]) -> dict[str, dict[str, Any]]:
    """Return, by step, how a round's reward model compared with that of the round before, and which of them is used."""
    found = {name: step.metrics.get("against_earlier") for name, step in steps.items()}
    return {name: measured for name, measured in found.items() if measured}


def adherence(steps: dict[str, FinishedStep]) -> dict[str, dict[int, dict[str, float]]]:
    """Return ``{"baseline" | "gatt" | "end": {turn: {"adherence", "count", "low", "high"}}}`` of what was measured.

    "end" is the last checkpoint, where rounds came after Ghost Attention.
    """
    by_kind = {step.kind: step for step in steps.values()}
    return {
        label: {int(turn): bucket for turn, bucket in by_kind[kind].metrics.get("turns", {}).items()}
        for label, kind in ADHERENCE.items()
        if kind in by_kind
    }


def _adherence(steps: dict[str, FinishedStep]) -> dict[str, Any]:
    measured = adherence(steps)
    if len(measured) < 2:
        return {}
    turns = [turn for turn in PAPER_TURNS if all(turn in by_turn for by_turn in measured.values())]
    shares = {label: [by_turn[turn]["adherence"] for turn in turns] for label, by_turn in measured.items()}
    return {"turns": turns, **shares}
