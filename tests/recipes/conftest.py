"""A toy recipe: stages that write a file within milliseconds, so that tests see only what runs a recipe."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

_STAGE = """
import os, time
from dataclasses import dataclass
from pathlib import Path
from chat_model.errors import InputError
from chat_model.stage import run_as_command, run_stage

@dataclass
class ToyConfig:
    output_dir: str = ""
    seed: int = 0
    text: str = ""
    rate: float = 0.1
    source: str | None = None
    fail: str = ""
    sleep: float = 0.0
    padding: int = 0
    note: str = ""

def toy(run, config):
    with open(os.environ["TOY_CALLS"], "a") as calls:
        calls.write(Path(config.output_dir).name.removesuffix(".partial") + "\\n")
    print("toy prints")
    if config.fail == "input":
        raise InputError("rows.jsonl:3: field 'x': found 1; expected 2")
    if config.fail == "crash":
        raise ZeroDivisionError("toy broke")
    if config.fail == "exit":
        raise SystemExit(7)
    if config.note:
        run.note(config.note)
    time.sleep(config.sleep)
    earlier = Path(config.source, "text.txt").read_text() if config.source else ""
    (run.folder / "text.txt").write_text(earlier + config.text + "x" * config.padding)

def main(argv=None):
    run_stage("toy_stage", (ToyConfig,), toy, argv)

if __name__ == "__main__":
    run_as_command(main)
"""


@dataclass
class Toy:
    """The toy recipe's folder and what its stages did."""

    folder: Path
    root: Path
    calls_file: Path

    def calls(self) -> list[str]:
        """Return the names of the steps that started since the last question."""
        called = self.calls_file.read_text().split() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return called

    def write(self, name: str, content: dict) -> None:
        """Write one of the recipe's YAML files."""
        (self.folder / name).write_text(yaml.safe_dump(content))

    def edit(self, name: str, /, **fields: object) -> None:
        """Change fields of one of the recipe's YAML files."""
        self.write(name, {**yaml.safe_load((self.folder / name).read_text()), **fields})


@pytest.fixture
def make_toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Toy]]:
    """Yield a function that writes the toy recipe: ``first -> second -> third``, and ``alone`` beside them."""
    package = tmp_path / "packages" / "toy_stage"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(_STAGE)
    monkeypatch.syspath_prepend(package.parent)
    paths = [str(package.parent), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("TOY_CALLS", str(tmp_path / "calls.txt"))

    def make(**changes: object) -> Toy:
        toy = Toy(tmp_path / "toy_recipe", tmp_path / "out", tmp_path / "calls.txt")
        toy.folder.mkdir()
        needs = {"first": None, "second": "first", "third": "second", "alone": None}
        steps = []
        for name, source in needs.items():
            toy.write(f"{name}.yaml", {"text": f"{name} {{word}}.", "rate": 0.5, "fail": "", "sleep": 0.0})
            arguments = {"source": f"{{steps.{source}}}"} if source else {}
            steps.append({"name": name, "module": "toy_stage", "config": f"{name}.yaml", "arguments": arguments})
        recipe = {"name": "toy", "chain": "steps", "variables": {"word": "hello", "data": None}, "steps": steps}
        toy.write("recipe.yaml", {**recipe, **changes})
        return toy

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy_stage"]:
        del sys.modules[name]
