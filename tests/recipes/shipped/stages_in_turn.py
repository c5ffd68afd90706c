"""Runs stages one after the other in the processes of one launch, so that the libraries are imported once.

Started by `test_launch_configs.py` with a file of ``[module, config file]`` pairs; leaves the number of processes that
each stage ran in beside it.
"""

import importlib
import json
import os
import sys
from pathlib import Path

from chat_model.processes import process_state
from chat_model.stage import run_as_command
from recipes.launch import _cleared_after


def main() -> None:
    """Run all stages; the main process writes ``worlds.json``."""
    listed = Path(sys.argv[1])
    worlds = {}
    for module, config in json.loads(listed.read_text()):
        with _cleared_after():
            importlib.import_module(f"{module}.__main__").main(["--config", config])
            worlds[config] = process_state().num_processes
    if int(os.environ.get("RANK", "0")) == 0:
        listed.with_name("worlds.json").write_text(json.dumps(worlds))


if __name__ == "__main__":
    run_as_command(main)
