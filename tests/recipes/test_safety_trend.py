"""The trend of safety over the rounds, from the record of the safety evaluation."""

import json

from recipes.report.safety_trend import safety_series, safety_trend
from recipes.results import read_steps


def rates(unsafe, refused):
    def found(share):
        return {"all": {"share": share, "count": 0 if share is None else 40, "low": 0.0, "high": 1.0}}

    return {"violations": found(unsafe), "false_refusals": found(refused)}


def write_steps(tmp_path, checkpoints):
    (tmp_path / "safety_evaluation").mkdir()
    (tmp_path / "safety_evaluation" / "run.json").write_text(json.dumps({"metrics": {"checkpoints": checkpoints}}))
    return read_steps(tmp_path)


def test_checkpoints_keep_their_order_and_what_was_not_measured_is_no_zero(tmp_path):
    steps = write_steps(tmp_path, {"sft": rates(0.3, 0.1), "RLHF-V1": rates(0.1, None), "RLHF-V2": rates(0.0, 0.2)})
    series = safety_series(steps)
    assert [(name, share) for name, (share, _) in series["unsafe answers"].items()] == [
        ("sft", 0.3),
        ("RLHF-V1", 0.1),
        ("RLHF-V2", 0.0),
    ]
    assert list(series["false refusals"]) == ["sft", "RLHF-V2"]
    svg = safety_trend(steps)
    assert svg.startswith("<svg") and all(text in svg for text in ("RLHF-V1", "unsafe answers", "false refusals"))


def test_without_the_step_there_is_no_picture(tmp_path):
    assert safety_series(read_steps(tmp_path)) == {} and safety_trend(read_steps(tmp_path)) is None
