"""What the run that a checkpoint belongs to measured of it: the row of its `evaluation` step."""

import json
from pathlib import Path
from typing import Any

from chat_model.stage import RUN_FILE

_STEP = "evaluation"


def find_evaluation(checkpoint: Path) -> dict[str, Any]:
    """Return ``{"grades": {name: value}, "win_rate": {…}}`` of a checkpoint; empty when no run measured it."""
    checkpoint = checkpoint.resolve()
    for root in checkpoint.parents:
        if (root / _STEP / RUN_FILE).is_file():
            return _row_of(checkpoint.relative_to(root), json.loads((root / _STEP / RUN_FILE).read_text("utf-8")))
    return {}


def _row_of(checkpoint: Path, run: dict[str, Any]) -> dict[str, Any]:
    """Find the name under which a checkpoint was measured; the run's folder may have moved since."""
    for name, path in zip(run["arguments"]["names"], run["arguments"]["checkpoints"], strict=True):
        if Path(path).parts[-len(checkpoint.parts) :] == checkpoint.parts:
            metrics = run["metrics"]
            return {"grades": metrics["checkpoints"][name], "win_rate": metrics["win_rates"].get(name)}
    return {}
