"""What `rounds import` does: start the import stage, and show what its `run.json` counted as a table."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from chat_model.stage import RUN_FILE

# The datasets that the stage knows, for `rounds import --help`, which must not import the stage. A test compares them.
NAMES = (
    "anthropic_hh, stanford_shp, openai_summarize, openai_webgpt, stack_exchange, synthetic_gptj, ultrafeedback, "
    "helpsteer2, helpsteer3, pku_saferlhf, trl_preference, trl_conversations, gsm8k"
)

_MODULE = "reward_model.importers.__main__"
_PARTS = {"dropped": "dropped", "by_rating": "rating", "by_domain": "domain"}


def run_import(name: str, source: str, output: Path, options: Mapping[str, Any]) -> Table:
    """Import a dataset into the folder `output` and return the table of its counts.

    Args:
        name: the dataset's schema.
        source: a file, a folder or a hub id.
        output: the folder that appears when the import is complete.
        options: further fields of the stage; those that are None are left to it.

    Raises:
        InputError: the stage refused its input.
    """
    words = [f"--{key}={value}" for key, value in options.items() if value is not None]
    importlib.import_module(_MODULE).main([f"--name={name}", f"--source={source}", f"--output_dir={output}", *words])
    counts = json.loads((output / RUN_FILE).read_text(encoding="utf-8"))["counts"]
    return counts_table(f"{name} in {output}", counts)


def counts_table(title: str, counts: Mapping[str, Any]) -> Table:
    """Return rows read, kept and dropped by reason, pairs by rating and domain, and the lines of each file."""
    table = Table("what", "number", title=title, title_justify="left")
    for key, value in counts.items():
        if key in _PARTS:
            for part, number in value.items():
                table.add_row(f"{_PARTS[key]}: {part.replace('_', ' ')}", f"{number:,}")
        else:
            table.add_row(key.replace("_", " "), f"{value:,}")
    table.columns[1].justify = "right"
    return table
