"""Pages made of the READMEs that stand beside the code, so that nothing is written twice.

A link of a README to a file of the repository has no page to go to here; it becomes the file's name.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = {
    "in_depth/importers.md": "reward_model/importers/README.md",
    "in_depth/preferences.md": "rlhf/preferences/README.md",
    "in_depth/rejection_sampling.md": "rlhf/rejection_sampling/README.md",
    "in_depth/ppo.md": "rlhf/ppo/README.md",
    "in_depth/gatt.md": "gatt/README.md",
    "in_depth/safety_evaluation.md": "rlhf/safety_evaluation/README.md",
    "in_depth/launch_configs.md": "recipes/accelerate/README.md",
    "in_depth/doctor.md": "recipes/doctor/README.md",
    "in_depth/five_rounds.md": "recipes/five_rounds/README.md",
    "in_depth/ghost_attention.md": "recipes/ghost_attention/README.md",
    "in_depth/context_distillation.md": "recipes/context_distillation/README.md",
    "in_depth/quickstart.md": "recipes/quickstart/README.md",
    "in_depth/margin_ablation.md": "recipes/margin_ablation/README.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")
_RESULTS = re.compile(r"<!-- results -->\n(.*?)<!-- /results -->", re.DOTALL)
_MEASURED = re.compile(r"^## Results\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)  # a section of a recipe's README
_PICTURE = "![Helpfulness and safety over five rounds](measured.svg)"  # see measured.py
_MARK = re.compile(r"<!-- /?results -->\n?")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each README, and the page of results."""
    root = Path(config.config_file_path).parent
    pages = {page: (root / source).read_text(encoding="utf-8") for page, source in PAGES.items()}
    pages["results.md"] = _results(root)
    for page, text in pages.items():
        files.append(File.generated(config, page, content=without_file_links(text)))
    return files


def without_file_links(text: str) -> str:
    """Return `text` with every link to a file of the repository replaced by what the link says."""
    return _LINK.sub(lambda link: link[1] if "`" in link[1] else f"{link[1]} (`{link[2]}`)", text)


def _results(root: Path) -> str:
    """Return what was measured: the quickstart by the README, recipes by their own, and the benchmarks."""
    measured = _RESULTS.search((root / "README.md").read_text(encoding="utf-8"))
    assert measured, "README.md: the block between <!-- results --> and <!-- /results --> is gone"
    benchmarks = (root / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    recipes = "\n\n".join(measured_by_recipes(root))
    return f"# Results\n\n{_PICTURE}\n\n## The quickstart\n\n{measured[1]}\n\n{recipes}\n\n#{benchmarks}"


def measured_by_recipes(root: Path) -> list[str]:
    """Return a section for each recipe whose README has one called Results, under the README's title."""
    sections = []
    for file in sorted((root / "recipes").glob("*/README.md")):
        text = file.read_text(encoding="utf-8")
        if found := _MEASURED.search(text):
            title = text.splitlines()[0].removeprefix("# ")
            sections.append(f"## {title}\n\n{_MARK.sub('', found[1]).strip()}")
    return sections
