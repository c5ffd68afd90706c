"""What surrounds every stage: its configuration, its output folder, and the record `run.json` of what it did.

A stage writes into ``<output_dir>.partial`` and the folder is renamed when complete, so whatever stands under its final
name is whole. A killed stage finds its partial folder again when it is started with the same arguments.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from chat_model.config import parse_configs
from chat_model.errors import InputError
from chat_model.rows import remove_unfinished, write_json, write_whole

RUN_FILE = "run.json"
CACHE_TAG = "CACHEDIR.TAG"  # of the Cache Directory Tagging Specification: nothing in a folder with it is input
TRAINER_CHECKPOINT = re.compile(r"checkpoint-\d+")  # the folders of Hugging Face's trainer
DRY_RUN = "--dry_run"
_STARTED_FILE = "started.json"
_PACKAGES = ("rlhf-rounds", "torch", "transformers", "trl", "peft", "accelerate", "datasets")
_HASHED_WHOLE = 64 * 2**20  # bytes; larger files are told apart by size and modification time


class DryRun(Exception):
    """A stage that was started with ``--dry_run`` ends here: its configuration is parsed, nothing was run."""

    def __init__(self, name: str, configs: tuple[Any, ...]):
        super().__init__(f"{name}: the configuration is valid; nothing was run")
        self.configs = configs


@dataclass
class StageRun:
    """One run of a stage: where it writes, and what it counted and measured on the way."""

    folder: Path
    resumed: bool = False
    is_main: bool = True
    counts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def count(self, **numbers: Any) -> None:
        """Note numbers of rows (read, kept, dropped by reason) for `run.json`."""
        self.counts.update(numbers)

    def record(self, **metrics: Any) -> None:
        """Note final measurements for `run.json`."""
        self.metrics.update(metrics)

    def note(self, text: str) -> None:
        """Warn, and leave the text in `run.json`: `rounds run` and `rounds status` show it beside the step."""
        warnings.warn(text, stacklevel=3)
        self.notes.append(text)

    def beside(self, name: str) -> Path:
        """Return ``<output_dir>.<name>``, which outlives the output folder: for answers that were paid for."""
        return self.folder.with_name(f"{self.folder.name.removesuffix('.partial')}.{name}")

    def log(self, row: dict[str, Any]) -> None:
        """Append one row to `metrics.jsonl` (the main process only)."""
        if self.is_main:
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def forget_after(self, step: int, key: str = "step") -> None:
        """Keep only the lines of `metrics.jsonl` whose `key` is at most `step` (the main process only).

        A last line that a kill cut short goes too.
        """
        file = self.folder / "metrics.jsonl"
        if self.is_main and file.exists():
            whole = [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
            with write_whole(file) as beside:
                beside.write_text("".join(line for line in whole if json.loads(line)[key] <= step), encoding="utf-8")


def run_stage(
    name: str,
    config_types: Sequence[type],
    stage: Callable[..., None],
    argv: Sequence[str] | None = None,
    is_worth_keeping: Callable[[Path], bool] = lambda partial: False,
) -> None:
    """Parse the configuration, run ``stage(run, *configs)`` and leave a whole output folder with `run.json`.

    Exactly one of `config_types` has a field `output_dir`, and one may have `seed`. With ``--dry_run`` among the
    arguments the configuration is parsed and nothing else is done.

    Args:
        is_worth_keeping: says of a killed run's partial folder whether it holds work that other settings must not
            throw away; such a start is refused.

    Raises:
        InputError: bad configuration, an output folder that holds something else, or a changed configuration where a
            killed run left something worth keeping (names the fields).
        DryRun: the configuration is valid and ``--dry_run`` was given; it carries `configs`.
    """
    from transformers import set_seed

    began = time.time()
    argv = list(sys.argv[1:] if argv is None else argv)
    configs, arguments = parse_configs(name, config_types, [word for word in argv if word != DRY_RUN])
    holder = next(config for config in configs if hasattr(config, "output_dir"))
    if not holder.output_dir:
        raise InputError(f"{name}: output_dir is missing; expected a folder to write to")
    if DRY_RUN in argv:
        raise DryRun(name, configs)
    output = Path(holder.output_dir)
    arguments.pop("output_dir", None)
    inputs = find_inputs(arguments)
    started = {"stage": name, "arguments": plain(arguments), "inputs": inputs}
    with _open_output(name, output, started, is_worth_keeping) as run:
        holder.output_dir = str(run.folder)
        set_seed(next((config.seed for config in configs if hasattr(config, "seed")), 0))
        stage(run, *configs)
        if run.is_main:
            record = _record(name, arguments, configs, inputs, run, time.time() - began)
            write_json(run.folder / RUN_FILE, record)


def run_as_command(main: Callable[[], None]) -> None:
    """Run a stage's `main` as a command: a user's mistake is one line on standard error and exit code 2."""
    code, backend = 0, None
    try:
        main()
        _wait_for_everyone()
    except DryRun as end:
        print(end)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    finally:
        backend = _leave_process_group()
    _exit(code, at_once=backend == "gloo")


def _exit(code: int, at_once: bool) -> None:
    """End the command; at once where threads of gloo's that are still around might abort the interpreter's own end."""
    if at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        sys.exit(code)


@contextlib.contextmanager
def _open_output(
    name: str, output: Path, started: dict[str, Any], is_worth_keeping: Callable[[Path], bool]
) -> Iterator[StageRun]:
    is_main = int(os.environ.get("RANK", "0")) == 0
    partial = output.with_name(output.name + ".partial")
    if is_main:
        _refuse_foreign_folder(output, name)
        try:
            _prepare_partial(partial, started, is_worth_keeping)
        except OSError as error:
            raise InputError(f"output_dir {output}: cannot be written to ({error.strerror}); choose another") from error
    _wait_for_everyone()
    try:
        yield StageRun(partial, _was_resumed(partial), is_main)
    except InputError:
        if is_main and not is_worth_keeping(partial):
            shutil.rmtree(partial, ignore_errors=True)
        raise
    _wait_for_everyone()
    if is_main:
        (partial / _STARTED_FILE).unlink()
        _replace_folder(partial, output)
    _wait_for_everyone()


def _refuse_foreign_folder(output: Path, name: str) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        found = json.loads((output / RUN_FILE).read_text())["stage"]
    except (OSError, ValueError, KeyError):
        raise InputError(f"output_dir {output}: holds files that no stage of ours wrote; choose another") from None
    if found != name:
        raise InputError(f"output_dir {output}: holds the output of stage '{found}', not '{name}'; choose another")


def _prepare_partial(partial: Path, started: dict[str, Any], is_worth_keeping: Callable[[Path], bool]) -> None:
    """Make the partial folder, keeping what a killed run with the same arguments and inputs left there."""
    before: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        before = json.loads((partial / _STARTED_FILE).read_text())
    resumed = {**before, "resumed": False} == {**started, "resumed": False}
    if before and not resumed and is_worth_keeping(partial):
        raise InputError(
            f"{partial}: holds a run that was stopped, of other settings: {'; '.join(changes(before, started))}. "
            "Give these back to continue it, or remove the folder to begin anew"
        )
    if not resumed:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    remove_unfinished(partial)
    write_json(partial / _STARTED_FILE, {**started, "resumed": resumed})


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return ``field: was 1, is 2`` for each argument of two starts that differs, and the inputs whose content does."""
    old, new = before.get("arguments", {}), now["arguments"]
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    absent = "not given"
    found = [f"{name}: was {old.get(name, absent)}, is {new.get(name, absent)}" for name in names]
    inputs = before.get("inputs", {})
    return found + [
        f"content of {path}" for path, digest in now["inputs"].items() if inputs.get(path, digest) != digest
    ]


def _was_resumed(partial: Path) -> bool:
    return json.loads((partial / _STARTED_FILE).read_text())["resumed"]


def _replace_folder(partial: Path, output: Path) -> None:
    old = output.with_name(output.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        output.rename(old)
    partial.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def _wait_for_everyone() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from chat_model.processes import process_state

        process_state().wait_for_everyone()


def _leave_process_group() -> str | None:
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return None
    from chat_model.processes import leave_process_group

    return leave_process_group()


def _record(name, arguments, configs, inputs, run: StageRun, seconds: float) -> dict[str, Any]:
    resolved: dict[str, Any] = {}
    for config in configs:
        resolved.update(config.to_dict() if hasattr(config, "to_dict") else asdict(config))
    return {
        "stage": name,
        "arguments": plain(arguments),
        "config": plain(resolved),
        "inputs": inputs,
        "versions": {"python": platform.python_version(), **_versions()},
        "counts": plain(run.counts),
        "metrics": plain(run.metrics),
        **({"notes": run.notes} if run.notes else {}),
        "files": _sizes(run.folder),
        "seconds": round(seconds, 2),
        "finished": datetime.now().isoformat(timespec="milliseconds"),  # to the second, two quick runs look alike
    }


def _sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each file below `folder` that the stage leaves for others: no trainer's checkpoint, and none
    that tells of the run itself.
    """
    files = {file.relative_to(folder): file for file in sorted(folder.rglob("*")) if file.is_file()}
    return {path.as_posix(): file.stat().st_size for path, file in files.items() if _is_for_others(path)}


def _is_for_others(path: Path) -> bool:
    of_trainer = any(TRAINER_CHECKPOINT.fullmatch(part) for part in path.parts)
    return path.name not in (RUN_FILE, _STARTED_FILE) and not of_trainer


def find_damage(folder: Path, sizes: Mapping[str, int]) -> str:
    """Say which file of a finished stage is gone or shorter than it was; an empty text when none is.

    Args:
        sizes: the bytes of each file as `run.json` holds them under ``files``. One that has grown counts as whole.
    """
    for name, size in sizes.items():
        if not (folder / name).is_file():
            return f"{name} is gone"
        found = (folder / name).stat().st_size
        if found < size:
            return f"{name} is cut short: {found} of {size} bytes"
    return ""


def plain(content: Any) -> Any:
    """Return `content` as what JSON gives back (tuples become lists, anything unknown its text)."""
    return json.loads(json.dumps(content, default=str))


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def find_inputs(arguments: Any) -> dict[str, str]:
    """Return ``{path: fingerprint}`` for every value among `arguments` (nested too) that is an existing path.

    A folder that is tagged as a cache is left out: it changes with every run and decides no result.
    """
    paths = sorted(set(_paths_in(arguments)))
    return {path: fingerprint(path) for path in paths if not (Path(path) / CACHE_TAG).is_file()}


def _paths_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _paths_in(item)
    elif (
        isinstance(value, str)
        and (os.sep in value or Path(value).suffix)
        and len(value) < 4096
        and Path(value).exists()
    ):
        yield value


def fingerprint(path: str | Path) -> str:
    """Return a digest of what stands at `path`.

    A folder that a stage wrote, or a file inside one, is told by that stage's `run.json`, which changes with every run
    of it; other files by their content (above 64 MiB by size and modification time); other folders by their files.
    """
    path = Path(path)
    for folder in (path, *list(path.parents)[:2]):
        if (folder / RUN_FILE).is_file():
            return _digest_file(folder / RUN_FILE)
    if path.is_file():
        return _digest_file(path)
    digests = [f"{file.relative_to(path)} {_digest_file(file)}" for file in sorted(path.rglob("*")) if file.is_file()]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _digest_file(path: Path) -> str:
    stat = path.stat()
    if stat.st_size > _HASHED_WHOLE:
        return hashlib.sha256(f"{stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()
