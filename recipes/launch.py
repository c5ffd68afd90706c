"""Start one step: in this process, or through `accelerate launch` when the recipe names a launch config.

In this process the libraries are imported once for the whole chain, which on a CPU is most of a short recipe's time;
what one stage leaves behind in them is cleared before the next.
"""

import codecs
import contextlib
import gc
import importlib
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from chat_model.errors import InputError
from recipes.progress import StageOutput
from recipes.recipe import Recipe
from recipes.step import Step, StepFailed
from recipes.step_config import tensor_parallel_environment, write_config

LAUNCHER = "ROUNDS_LAUNCHER"  # variable: the command that starts a launched stage; recipes/accelerate/slurm.sh sets it

_SECONDS_TO_END = 10  # a launched stage may take this long to end after SIGTERM
_TAIL_LINES = 15
# The last line of a traceback, but for those by which a launcher reports that its worker failed.
_ERROR = re.compile(r"^(?!\S*(?:CalledProcess|ChildFailed)Error)[\w.]+(?:Error|Exception|Exit)\b.*$", re.MULTILINE)
_USER_ERROR = re.compile(r"^error: (.+)$", re.MULTILINE)  # what chat_model.stage.run_as_command prints


def check_module(step: Step) -> None:
    """Raise InputError unless the step's module is a package that can be run (nothing heavy is imported)."""
    try:
        found = importlib.util.find_spec(f"{step.module}.__main__")
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise InputError(f"step '{step.name}': module '{step.module}' is no stage; expected a package with __main__.py")


def launch(step: Step, recipe: Recipe, output: StageOutput, lock: int) -> None:
    """Run `step` to its end, with what it prints going to ``logs/<step>.log`` under the output root.

    Args:
        lock: descriptor of the output root's lock, which a launched process holds on to should this one be killed.

    Raises:
        InputError: the stage refused its input; the message is its own, with the step's name before it.
        StepFailed: any other error; what it was stands in the message, all of it in the log.
    """
    log = recipe.root / "logs" / f"{step.name}.log"
    try:
        config = write_config(step, recipe.root)
        with output.to(log):
            if recipe.accelerate is None:
                _run_here(step, config, output, log)
            else:
                _run_launched(step, config, recipe, output, log, lock)
    except OSError as error:  # of ours: what a stage raises has become one of the two by now
        raise StepFailed(f"step '{step.name}' cannot be started: {error}") from error


def _run_here(step: Step, config: Path, output: StageOutput, log: Path) -> None:
    # Before torch is loaded: threads that wait for each other spin for some microseconds only, then sleep. Where
    # another program takes one of two cores, spinning ones made a training step twenty times slower (measured);
    # those that sleep at once cost an eighth of a step of the small world's.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), _cleared_after():
            importlib.import_module(f"{step.module}.__main__").main(["--config", str(config)])
    except InputError as error:
        raise InputError(f"step '{step.name}': {error}") from error
    except (Exception, SystemExit) as error:
        output.write(traceback.format_exc())
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise StepFailed(f"step '{step.name}' failed: {reason} (log: {log})") from error


@contextlib.contextmanager
def _cleared_after() -> Iterator[None]:
    """Leave no accelerator state, no `ACCELERATE_…` variable and no unreachable model to the next stage."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("ACCELERATE_")]:
            os.environ.pop(name)
        os.environ.update({name: value for name, value in before.items() if name.startswith("ACCELERATE_")})
        if "accelerate" in sys.modules:
            _reset_accelerate()
        gc.collect()
        if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
            sys.modules["torch"].cuda.empty_cache()


def _reset_accelerate() -> None:
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def _run_launched(step: Step, config: Path, recipe: Recipe, output: StageOutput, log: Path, lock: int) -> None:
    with subprocess.Popen(
        [*_launcher(), "--config_file", str(recipe.accelerate), "-m", step.module, "--config", str(config)],
        env={**os.environ, **tensor_parallel_environment(recipe)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that ending it ends its workers
        pass_fds=(lock,),
    ) as child:
        try:
            printed = _copy(child, output)
        except BaseException:
            _end(child)
            raise
    if child.returncode:
        if refused := _USER_ERROR.search(printed):
            raise InputError(f"step '{step.name}': {refused[1]}")
        tail = "\n".join(printed.splitlines()[-_TAIL_LINES:])
        reason = (_ERROR.findall(printed) or [f"exit code {child.returncode}"])[-1]
        raise StepFailed(f"step '{step.name}' failed: {reason} (log: {log})\n{tail}")


def _launcher() -> list[str]:
    """Return `accelerate launch` of this Python, or what the variable `ROUNDS_LAUNCHER` says: on a cluster, the command
    that runs it on every machine, with the options that only the allocation knows.
    """
    return shlex.split(os.environ.get(LAUNCHER, "")) or [sys.executable, "-m", "accelerate.commands.launch"]


def _copy(child: subprocess.Popen, output: StageOutput) -> str:
    """Pass on what `child` prints until it ends; returns the last 100,000 characters or so."""
    assert child.stdout is not None
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    printed = ""
    while chunk := child.stdout.read1(65536):  # type: ignore[attr-defined]
        text = decode(chunk)
        output.write(text)
        printed = (printed + text)[-100_000:]
    child.wait()
    return printed


def _end(child: subprocess.Popen) -> None:
    """End a launched stage and its workers, kindly first."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_SECONDS_TO_END)
