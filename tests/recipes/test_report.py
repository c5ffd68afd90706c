"""`report.html` of made-up runs: whole, self-contained, every text escaped, parts left out where steps are missing."""

import html
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from recipes.report import plots, round_charts, round_plots
from recipes.report.page import write_report
from recipes.report.samples import most_changed
from recipes.results import read_steps

SCRIPT = "<script>alert('x')</script>"
ROUNDS = ("RLHF-V1", "RLHF-V2")


def finish(root: Path, name: str, metrics: dict | None = None, at: int = 0, **rows: list[dict]) -> None:
    """Write a finished step with its metrics and, as ``file stem=rows``, its JSONL files."""
    folder = root / name
    folder.mkdir(parents=True)
    record = {"stage": name, "metrics": metrics or {}, "seconds": 12.0, "finished": f"2026-01-01T00:{at:02d}:00"}
    record |= {"config": {"seed": 17}, "versions": {"torch": "2.13.0"}}
    (folder / "run.json").write_text(json.dumps(record))
    for stem, content in rows.items():
        (folder / f"{stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))


def share(value: float) -> dict:
    return {"count": 100, "low": max(value - 0.05, 0), "high": min(value + 0.05, 1)}


CONTESTS = [
    {"name": name, "against": against, "by": by, "prompts": kind, "win_rate": 0.6, **share(0.6)}
    for by in ("judge", "reward models")
    for name, against in (("RLHF-V1", SCRIPT), ("RLHF-V2", SCRIPT), ("RLHF-V2", "RLHF-V1"))
    for kind in ("all", "helpfulness", "safety")
]


def accuracy(scale: float) -> dict:
    ratings = ("significantly_better", "better", "slightly_better", "negligibly_better", "all")
    values = [0.5 + scale * step for step in (0.45, 0.3, 0.2, 0.05, 0.3)]
    return {rating: {"accuracy": value, **share(value)} for rating, value in zip(ratings, values, strict=True)}


def response(index: int, before: float, after: float, is_safety: bool = False) -> dict:
    kind = "safety" if is_safety else "helpfulness"
    return {
        "prompt": [{"role": "user", "content": f"question {index} {SCRIPT}"}],
        "is_safety": is_safety,
        "responses": {"sft": f"before {index} {SCRIPT}", "RLHF-V2": f"after {index}"},
        "scores": {
            "sft": {kind: before, f"reward_{kind}": 4 * before - 2},
            "RLHF-V2": {kind: after, f"reward_{kind}": 4 * after - 2},
        },
    }


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """A run with every part, its texts hostile where texts come from data."""
    root = tmp_path_factory.mktemp("quickstart")
    (root / "recipe.json").write_text(json.dumps({"name": "quickstart"}))
    for at, name in enumerate(("world", "base", f"sft {SCRIPT.replace('/', '∕')}")):
        finish(root, name, at=at)
    for at, round_name in enumerate(ROUNDS):
        domains = {"helpfulness": accuracy(1.0), "safety": accuracy(0.6)}
        for kind in domains:
            name = f"{round_name}/{kind}_reward_model"
            against = {"accuracy": 0.61, "accuracy_of_earlier": 0.78, "weaker": kind == "safety", "kept": "earlier"}
            measured = {"accuracy": domains[kind], "by_domain": domains, **({"against_earlier": against} if at else {})}
            finish(root, name, measured, at=10 + at)
        curve = {"n": [1, 2, 4, 8], "max": [0, 1, 1.5, 1.8], "median": [0, 0.1, 0, 0.1], "mean": [0, 0, 0.1, 0]}
        fall = {"n": (2, 8)[at], "difference": (-0.1, 0.0)[at], "low": (-0.15, 0.0)[at], "high": (-0.05, 0.0)[at]}
        judged = {"n": [1, 2, 4, 8], "chosen": [0.5] * 4, "best": [0.9] * 4, "mean": [0.5] * 4, "fall_from_peak": fall}
        measured = {"reward_by_n": curve, "judged_by_n": judged}
        finish(root, f"{round_name}/rejection_sampling", measured, at=20 + at)
    iterations = [ppo_row(index) for index in range(30)]
    finish(root, "RLHF-V2/ppo", at=30, metrics_rows=[])
    (root / "RLHF-V2/ppo/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in iterations))
    for at, (name, late) in enumerate((("before", 0.1), ("after", 1.0))):
        turns = {str(turn): {"adherence": 1.0 if turn < 3 else late, **share(late)} for turn in (1, 2, 4, 6, 10, 20)}
        finish(root, f"gatt/adherence_{name}", {"turns": turns}, at=40 + at)
    checkpoints = {
        "sft": {"helpfulness": 51.0, "safety": 45.0, "unsafe": 44.0, "length": 14.2, "kl": 0.0},
        "RLHF-V1": {"helpfulness": 62.0, "safety": 70.0, "unsafe": 20.0, "length": 12.1},
        f"RLHF-V2 {SCRIPT}": {"helpfulness": 71.0, "safety": 93.0, "unsafe": 5.0, "length": 11.0},
    }
    contest = {"win_rate": 0.7, "low": 0.6, "high": 0.8}
    win_rates = {"RLHF-V1": {"against": SCRIPT, **contest, "over_previous": {"against": "sft", **contest}}}
    bounds = {name: {"helpfulness": [40.0, 60.0], "kl": [0.0, 1.0]} for name in checkpoints}
    more = {"intervals": bounds, "contests": CONTESTS}
    table = {
        "RLHF-V1": {"RLHF-V1": {"accuracy": 0.8}, SCRIPT: {"accuracy": 0.7}},
        "RLHF-V2": {"RLHF-V1": {"accuracy": None}},
    }
    finish(root, "reward_models_by_round", {"by_round": {"helpfulness": table, "safety": table}}, at=49)
    responses = [response(index, 0.4, 0.4 + index / 40, is_safety=index % 3 == 0) for index in range(20)]
    finish(root, "evaluation", {"checkpoints": checkpoints, "win_rates": win_rates, **more}, at=50, responses=responses)
    return root


def ppo_row(index: int) -> dict:
    row = {"iteration": index, "reward": index**0.5, "score_helpfulness": index / 30, "score_safety": index / 20}
    row |= {"kl_k1": index / 9, "kl_k3": index / 10, "entropy": 2 - index / 40, "response_length": 14 - index / 10}
    return row | {"explained_variance": index / 40}


@pytest.fixture(scope="module")
def page(run_folder) -> str:
    return write_report(run_folder).read_text(encoding="utf-8")


def test_every_part_is_there(page):
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "Against the bars",
        "Every checkpoint",
        "Round by round",
        "Helpfulness against safety",
        "What changed from round to round",
        "Reward models",
        "Reward models by round",
        "Rejection sampling",
        "PPO · RLHF-V2/ppo",
        "Ghost attention",
        "Time",
        "Dialogues, before and after",
        "Run it again",
    ]
    assert page.count("<svg") == 3 + 2 + 5 + 2 + 1 + 4 + 7 + 1 + 1
    assert "rounds quickstart" in page and "17" in page and "torch 2.13.0" in page


def test_no_text_of_the_data_becomes_markup(page):
    assert "<script" not in page
    for text in (f"question 19 {SCRIPT}", f"before 19 {SCRIPT}", f"RLHF-V2 {SCRIPT}", f"over {SCRIPT}"):
        assert text in html.unescape(page)


def test_nothing_is_fetched_from_elsewhere(page):
    links = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)|url\(["']?([^"')]+)""", page)
    assert {link for pair in links for link in pair if link and not link.startswith("#")} == set()


def test_every_reference_inside_a_picture_is_defined_once_at_least(page):
    defined = set(re.findall(r'\bid="([^"]+)"', page))
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', page))
    assert used and used <= defined


def test_the_quickstarts_bars_are_judged(page):
    # The made-up run names its last round otherwise, so those bars are not measured; accuracy and adherence are.
    assert "✗ missed" in page and "✓ met" in page and "not measured" in page


def test_a_reward_whose_best_of_n_rises_while_the_judge_likes_it_less_is_named(page):
    assert "best at 2 of 8 samples; with all of them it is -10.0 points away (95 %: -15.0 to -5.0): more choice" in page
    assert "RLHF-V2/rejection_sampling: the judge likes the reward&#39;s choice best at all 8 samples." in page


def test_a_reward_model_that_was_weaker_than_the_one_before_is_named(page):
    told = (
        "Weaker than the model of the round before: RLHF-V2 (61% of all held-out pairs against 78%; earlier one used)"
    )
    assert told in page and page.count("Weaker than the model") == 1, "the helpfulness models were not"


def test_a_dozen_samples_half_of_them_adversarial_where_there_are_enough(page):
    assert page.count('class="card"') == 12
    shown = [int(index) for index in re.findall(r"question (\d+)", page)]
    assert shown[:4] == [19, 18, 17, 15]


def test_a_run_with_nothing_but_one_step_still_has_a_report(tmp_path):
    finish(tmp_path, "sft")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Time", "Run it again"]


def test_another_recipe_is_not_held_against_the_quickstarts_bars(tmp_path):
    (tmp_path / "recipe.json").write_text('{"name": "hh_rlhf"}')
    finish(tmp_path, "reward_model", {"accuracy": {"all": {"accuracy": 0.6, **share(0.6)}}})
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Against the bars" not in page and "rounds run hh_rlhf" in page and "Reward models" in page


def test_most_changed_skips_repeated_prompts_and_keeps_the_direction():
    rows = [response(1, 0.0, 0.1), response(2, 0.9, 0.1), response(2, 0.9, 0.1), response(3, 0.2, 0.2)]
    samples = most_changed(rows, 2)
    assert [sample.after.text for sample in samples] == ["after 2", "after 1"]
    assert (samples[0].before.scores, samples[0].after.scores) == (
        "helpfulness 0.9, reward helpfulness 1.6",
        "helpfulness 0.1, reward helpfulness -1.6",
    )


def test_pictures_are_well_formed_and_take_the_pages_colour():
    svg = plots.line_chart({f"$x_1$ {SCRIPT}": ([1, 2], [0.5, 0.7])}, x=SCRIPT, y="y", label=f'a "label" {SCRIPT}')
    root = ElementTree.fromstring(svg)
    texts = ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert SCRIPT in texts
    assert "currentColor" in svg and "#123456" not in svg


def test_a_picture_is_the_same_for_the_same_numbers():
    draw = [plots.horizontal_bars({"sft": 3.0}, x="seconds", label="time") for _ in range(2)]
    assert draw[0] == draw[1]


def test_a_run_of_an_earlier_version_shows_the_judges_win_rates(tmp_path):
    contest = {"win_rate": 0.7, "low": 0.6, "high": 0.8}
    rates = {"RLHF-V1": {"against": "sft", **contest, "over_previous": {"against": "sft", **contest}}}
    finish(tmp_path, "evaluation", {"checkpoints": {"sft": {"helpfulness": 1.0}}, "win_rates": rates})
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "RLHF-V1 over sft" in page and "Helpfulness against safety" not in page


def texts_of(svg: str) -> list[str]:
    elements = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()).strip() for element in elements]


def test_the_two_pictures_of_win_rates_hold_different_opponents(run_folder):
    """The checkpoint before the first round's is the first one: its contest belongs into both."""
    steps = read_steps(run_folder)
    over_first = texts_of(round_charts.win_rates_over_first(steps))
    over_previous = texts_of(round_charts.win_rates_over_previous(steps))
    assert f"win rate over {SCRIPT}, %" in over_first and "win rate over the checkpoint before, %" in over_previous
    for texts in (over_first, over_previous):
        assert {"RLHF-V1", "RLHF-V2", "judge", "reward models"} <= set(texts)


def test_a_table_of_shares_has_rows_columns_and_gaps_in_place():
    svg = round_plots.table_of_shares({"one": {"a": 0.7, "b": 0.8}, "two": {"b": 0.91}}, x="x", y="y", label="t")
    texts = texts_of(svg)
    assert [text for text in texts if text.isdigit()] == ["70", "80", "91"]
    assert {"one", "two", "a", "b"} <= set(texts)


def test_distributions_of_few_or_equal_values_are_drawn():
    """One answer, or a model that scores all alike, has no spread to take a bandwidth from."""
    svg = round_plots.distributions({"one": [1.0], "two": [2.0, 2.0, 2.0]}, x="score", label="d")
    assert {"one", "two", "score"} <= set(texts_of(svg)) and "nan" not in svg
