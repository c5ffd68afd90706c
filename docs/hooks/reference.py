"""Reference pages from the code itself: every command of `rounds`, and every field of every stage's configuration."""

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGES = ("chat_model", "sft", "reward_model", "rlhf", "gatt")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add both pages."""
    root = Path(config.config_file_path).parent
    for page, content in {"commands": _commands(), "configuration": _configuration(root)}.items():
        files.append(File.generated(config, f"reference/{page}.md", content=content))
    return files


def _commands() -> str:
    from typer.cli import get_docs_for_click

    from recipes.cli import main

    command = typer.main.get_command(main)
    for each in command.commands.values():
        each.short_help = (each.help or "").splitlines()[0]  # or the list of commands would cut it short
    context = typer.Context(command, info_name="rounds")
    text = get_docs_for_click(obj=command, ctx=context, name="rounds", title="Commands")
    return text.replace("[bold]", "**").replace("[/bold]", "**")


def _configuration(root: Path) -> str:
    """Return a section for every stage with a table of its own fields."""
    text = [
        "# Configuration",
        "A stage reads one YAML file (`--config`), and `--field value` on top. Listed are the fields of Rounds and "
        "those of a TRL trainer's class of which a stage changes the default; TRL's others work by their names.",
    ]
    for stage, config_types in stages(root):
        text.append(f"## `{stage}`")
        text += [_table(config_type) for config_type in config_types]
    return "\n\n".join(text)


def stages(root: Path) -> Iterator[tuple[str, tuple[type, ...]]]:
    """Yield every stage with its configuration classes: what its `main` hands to `run_stage`."""
    for file in sorted(file for package in PACKAGES for file in (root / package).rglob("__main__.py")):
        module = importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts))
        if not hasattr(module, "run_stage"):
            continue
        with patch.object(module, "run_stage") as run_stage:
            module.main([])
        yield run_stage.call_args.args[0], tuple(run_stage.call_args.args[1])


def _table(config_type: type) -> str:
    """Return the class's name, what it is for, and its own fields."""
    if config_type.__module__.split(".")[0] not in PACKAGES:
        return f"And all fields of `{config_type.__module__.split('.')[0]}.{config_type.__name__}`."
    own = [
        field
        for field in dataclasses.fields(config_type)
        if field.name in config_type.__dict__.get("__annotations__", {})
    ]
    rows = [f"| `{field.name}` | {_cell(_default(field))} | {_cell(field.metadata.get('help', ''))} |" for field in own]
    title = f"**{config_type.__name__}.** {(config_type.__doc__ or '').splitlines()[0]}"
    return "\n".join([title, "", "| field | default | meaning |", "|---|---|---|", *rows])


def _default(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    return f"`{field.default_factory()!r}`" if field.default_factory is not dataclasses.MISSING else "required"


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").split())
