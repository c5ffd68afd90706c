"""The house rules that a machine can check: who may import whom, what importing costs, what a module must say."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("chat_model", "sft", "reward_model", "rlhf", "gatt", "recipes", "benchmarks")

# What each package may import of ours, itself aside. `benchmarks` measures all of it; nothing imports `recipes`.
ALLOWED = {
    "chat_model": set(),
    "sft": {"chat_model"},
    "reward_model": {"chat_model"},
    "rlhf": {"chat_model", "reward_model.scoring"},
    "gatt": {"chat_model", "reward_model.scoring"},
    "recipes": {"chat_model"},
    "benchmarks": {"chat_model", "sft", "reward_model", "rlhf", "gatt"},
}
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py") if ".cache" not in file.parts)


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def imported_names(source: str, package: str) -> set[str]:
    """Return every dotted name that `source`, a module of `package`, imports: ``from a import b`` is ``a.b``."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def forbidden(names: set[str], package: str) -> set[str]:
    """Return those of `names` that are ours and that `package` may not import."""
    ours = {name for name in names if name.split(".")[0] in (*PACKAGES, "tests")}
    allowed = ALLOWED[package] | {package}
    return {name for name in ours if not any(f"{name}.".startswith(f"{each}.") for each in allowed)}


def test_imports_follow_the_arrows():
    found = {}
    for file in FILES:
        folder = ".".join(file.parent.relative_to(ROOT).parts)
        found[_name(file)] = forbidden(imported_names(file.read_text(), folder), folder.split(".")[0])
    assert {name: names for name, names in found.items() if names} == {}


def test_the_walk_sees_every_spelling():
    source = "def f():\n    import trl, rlhf.ppo\n    from reward_model import scoring\n    from ..sft import train\n"
    assert imported_names(source, "gatt.inner") == {"trl", "rlhf.ppo", "reward_model.scoring", "gatt.sft.train"}
    assert forbidden({"reward_model.scoring.RewardScorer", "reward_model.train", "torch"}, "rlhf") == {
        "reward_model.train"
    }
    assert forbidden({"reward_model.scoring", "rlhf.ppo", "tests.conftest"}, "gatt") == {"rlhf.ppo", "tests.conftest"}
    assert forbidden({"recipes.cli"}, "benchmarks") == {"recipes.cli"}
    assert forbidden({"chat_models_of_others"}, "sft") == set()


def test_recipes_import_no_trainer_library():
    trainers = {"trl", "peft", "torch"}
    files = [file for file in FILES if "recipes" in file.parts]
    names = {_name(file): {name.split(".")[0] for name in imported_names(file.read_text(), "x")} for file in files}
    assert [name for name, imported in names.items() if imported & trainers] == []


def test_packages_start_with_a_docstring_and_nothing_else():
    bodies = {_name(file): ast.parse(file.read_text()).body for file in FILES if file.name == "__init__.py"}
    assert [name for name, body in bodies.items() if len(body) != 1 or not isinstance(body[0], ast.Expr)] == []


def test_every_module_says_what_it_is_and_fits_in_a_sitting():
    sources = {_name(file): file.read_text() for file in FILES}
    assert [name for name, source in sources.items() if not ast.get_docstring(ast.parse(source))] == []
    assert [name for name, source in sources.items() if len(source.splitlines()) >= 400] == []


LIGHT = ["sft", "reward_model", "rlhf", "gatt", "recipes", "chat_model.conversation", "chat_model.rows", "recipes.cli"]
LIGHT += ["chat_model.stage", "recipes.ledger", "recipes.quickstart.rules"]


def test_importing_does_nothing_heavy():
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    code += "    assert not {'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules), name\n"
    present = [name for name in LIGHT if (ROOT / name.split(".")[0]).is_dir()]
    result = subprocess.run([sys.executable, "-c", code, *present], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
