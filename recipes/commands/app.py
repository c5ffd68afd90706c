"""The `rounds` command itself: its help, its version, and how a mistake or a signal becomes a line and an exit code."""

import contextlib
import errno
import importlib.metadata
import signal
import threading
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console

from chat_model.errors import InputError
from recipes.step import StepFailed

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143
_DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_STOPPED = "stopped; the same command continues from here"


class Terminated(KeyboardInterrupt):
    """SIGTERM came, which stops a run as Ctrl-C does."""


main = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The Llama 2-Chat recipe, in rounds. Start with: [bold]rounds quickstart[/bold]",
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rounds {importlib.metadata.version('rlhf-rounds')}")
        raise typer.Exit


@main.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn a user's mistake, a failed step, Ctrl-C and SIGTERM into a line on standard error and an exit code."""
    try:
        with _terminated_by_sigterm():
            yield
    except InputError as error:
        raise _exit(str(error), EXIT_BAD_INPUT) from None
    except Terminated:
        raise _exit(_STOPPED, EXIT_TERMINATED) from None
    except KeyboardInterrupt:
        raise _exit(_STOPPED, EXIT_INTERRUPTED) from None
    except StepFailed as error:
        raise _exit(str(error), EXIT_FAILED) from None
    except OSError as error:
        if error.errno not in _DISK_FAULTS:
            raise
        raise _exit(f"cannot write: {error.strerror}; make room, and the same command continues", EXIT_FAILED) from None


@contextlib.contextmanager
def _terminated_by_sigterm() -> Iterator[None]:
    """Raise Terminated where SIGTERM finds the command, so that it ends what it launched."""
    if threading.current_thread() is not threading.main_thread():  # no other may set signals
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise_terminated(*_: object) -> None:
    raise Terminated


def _exit(message: str, code: int) -> typer.Exit:
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(code)
