"""The documentation's generated pages: every stage and every command is there, and no link to nowhere is left."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def hook(name):
    pytest.importorskip("mkdocs", reason="the docs extra is not installed")
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "hooks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_stage_has_its_fields():
    page = hook("reference")._configuration(ROOT)
    for stage in ("sft", "reward_model", "rlhf.preferences", "rlhf.rejection_sampling", "rlhf.ppo", "gatt.synthesize"):
        assert f"## `{stage}`" in page
    assert "| `kl_coefficient` | `0.01` |" in page
    assert "And all fields of `trl.SFTConfig`." in page


def test_every_command_is_listed_with_a_whole_sentence():
    page = hook("reference")._commands()
    assert (
        "* `merge`: Merge a LoRA adapter into its base model: weights, tokenizer and chat template in one folder."
        in page
    )
    assert "## `rounds gatt`" in page


def test_links_of_readmes_to_files_become_names():
    readmes = hook("readmes")
    text = "see [PPO](rlhf/ppo/README.md), [`loss`](loss.py), [the paper](https://x.org) and ![it](a.svg)"
    expected = "see PPO (`rlhf/ppo/README.md`), `loss`, [the paper](https://x.org) and ![it](a.svg)"
    assert readmes.without_file_links(text) == expected


def test_the_results_page_holds_every_measured_table_and_types_none():
    page, recipes = hook("readmes")._results(ROOT), ROOT / "recipes"
    names = ("five_rounds", "ghost_attention", "context_distillation", "margin_ablation", "hh_rlhf", "gsm8k")
    texts = [(recipes / name / "README.md").read_text().partition("## Results")[2] for name in names]
    texts.append((ROOT / "benchmarks" / "RESULTS.md").read_text())
    measured = [line for text in texts for line in text.splitlines() if line.startswith("| ")]
    assert len(measured) > 60 and [line for line in measured if line not in page] == []
    assert "<!--" not in page and "## Five rounds: the paper's V1 to V5 in the quickstart's world" in page
    assert "Rounds of your own" not in page


def test_the_picture_shows_the_numbers_of_the_table():
    measured = hook("measured")
    text = (ROOT / "recipes" / "five_rounds" / "README.md").read_text()
    points = measured.read_table(text)
    assert "sft" in points and "RLHF-V1" in points and len(points) >= 6
    rows = ("| sft | 25.0 (20 – 30) | 50.0 (40 – 60) |", "| RLHF-V1 + GAtt | 75.5 (70 – 80) | 100.0 (90 – 100) |")
    picture = measured.draw(measured.read_table("\n".join(rows)))
    assert 'points="84,190.0 180,89.0"' in picture and 'points="84,140.0 180,40.0"' in picture  # 240 is 0, 40 is 100
    assert '<path d="M84 200.0V180.0"/>' in picture and ">RLHF-V1 + GAtt</text>" in picture


@pytest.mark.parametrize("stage", ["sft", "reward_model", "rlhf.ppo"])
def test_what_makes_training_faster_is_a_field_of_every_training_stage_and_documented(stage):
    stages = dict(hook("reference").stages(ROOT))
    fields = {field.name for config in stages[stage] for field in dataclasses.fields(config)}
    options = {"attn_implementation", "gradient_checkpointing", "use_liger_kernel"}
    options |= {"torch_compile"} if stage != "rlhf.ppo" else set()
    page = (ROOT / "docs" / "how_to" / "many_gpus.md").read_text()
    assert options <= fields and [name for name in options if f"`{name}" not in page] == []


def test_equations_become_mathml_and_the_rest_stays():
    content = r'<p>a <span class="arithmatex">\(x_1 &lt; y\)</span> b</p>'
    pytest.importorskip("latex2mathml", reason="the docs extra is not installed")
    page = hook("equations").on_page_content(content)
    assert page.startswith("<p>a <math") and page.endswith("</math> b</p>")
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in page
