"""Our commands as forks of one process that has imported what they import, so that each starts within milliseconds.

A test of faults starts the same run two dozen times, and importing TRL alone takes ten seconds each time. What they are
forked from is Python's fork server; it computes nothing with torch, so a fork finds no threads in an odd state. Each
command leads a process group of its own.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

ROUNDS = "recipes.cli"
IMPORTED_ONCE = (
    ROUNDS,
    "recipes.ledger",
    "recipes.report.page",
    "recipes.quickstart.world",
    "sft.train",
    "reward_model.train",
    "rlhf.preferences.collect",
    "rlhf.rejection_sampling.select",
    "rlhf.ppo.train",
    "rlhf.evaluate.compare",
    "gatt.synthesize.stage",
    "gatt.evaluate.stage",
    "transformers.models.llama.modeling_llama",
)


class WarmCommands:
    """Starts ``main(words)`` of a module in a process of its own; what it prints goes to the end of a file."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*IMPORTED_ONCE])

    def start(self, module: str, *words: str, log: Path) -> BaseProcess:
        """Start the command; returns when it leads its process group."""
        process = self._context.Process(target=_command, args=(module, words, dict(os.environ), str(log)))
        process.start()
        while process.is_alive() and os.getpgid(process.pid) != process.pid:
            time.sleep(0.001)
        return process

    def run(self, module: str, *words: str, log: Path) -> int:
        """Run the command to its end and return its exit code."""
        process = self.start(module, *words, log=log)
        process.join()
        return process.exitcode


def kill_group(process: BaseProcess) -> None:
    """End a command and all it started with SIGKILL, as a machine that is switched off would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _command(module: str, words: tuple[str, ...], environment: dict[str, str], log: str) -> None:
    os.setsid()
    os.environ.update(environment)  # the fork server's is that of the test it was started in
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        stream.flush()
        os.dup2(descriptor, number)
    importlib.import_module(module).main(list(words))
