"""The documentation's generated pages: every stage and every command is there, and no link to nowhere is left."""

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


def test_equations_become_mathml_and_the_rest_stays():
    content = r'<p>a <span class="arithmatex">\(x_1 &lt; y\)</span> b</p>'
    pytest.importorskip("latex2mathml", reason="the docs extra is not installed")
    page = hook("equations").on_page_content(content)
    assert page.startswith("<p>a <math") and page.endswith("</math> b</p>")
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in page
