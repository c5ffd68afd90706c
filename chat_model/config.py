"""A stage's configuration: a YAML file and command-line fields, parsed into dataclasses by `trl.TrlParser`'s rules.

Everything a user can get wrong here (a missing file, an unknown key, a value of the wrong type) is an InputError that
names it. On a machine without an accelerator TRL's configs start from CPU defaults instead of refusing to start.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from chat_model.errors import InputError, suggestion

# What TRL's configs assume of a machine and a CPU lacks; a YAML file or the command line may say otherwise.
_CPU_DEFAULTS = {"bf16": False, "use_cpu": True, "dataloader_pin_memory": False}


def parse_configs(
    stage: str, config_types: Sequence[type], argv: Sequence[str] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the filled dataclasses and the arguments as given (YAML merged with the command line).

    Args:
        stage: the name shown in `--help` and errors, as in ``python -m sft``.
        config_types: dataclasses whose fields are the accepted keys.
        argv: ``--config FILE`` and ``--field value`` in any order; None takes them from `sys.argv`.

    Raises:
        InputError: a file that is missing or no mapping, an unknown key (with a suggestion), a bad or missing value.
    """
    parser = _make_parser(stage, config_types)
    file, rest = _split_config(list(sys.argv[1:] if argv is None else argv))
    from_file = read_yaml_mapping(file) if file else {}
    known = {action.dest for action in parser._actions} - {"help"}
    check_keys(from_file, known, str(file))
    named = _named_options(rest)
    check_keys(named, known, stage)
    parser.set_defaults_with_config(**{key: value for key, value in from_file.items() if not _on_command_line(value)})
    try:
        configs = parser.parse_args_into_dataclasses(args=_to_argv(from_file) + rest, look_for_args_file=False)
    except (ValueError, TypeError) as error:
        raise InputError(f"{file or stage}: {error}") from error
    return configs, {**from_file, **{name: _value_of(configs, name) for name in named}}


def read_yaml_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, safely (no objects are built). Raises InputError naming the file."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {type(content).__name__}; expected a mapping of field: value")
    return content


def check_keys(given: Any, known: set[str], where: str) -> None:
    """Raise InputError for the first key of `given` that is not `known`, suggesting the closest one."""
    for key in given:
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'{suggestion(str(key), known)}")


def _make_parser(stage: str, config_types: Sequence[type]):
    from trl import TrlParser

    from chat_model.processes import PATIENCE, on_cpu_only

    class StageParser(TrlParser):
        def error(self, message: str):
            raise InputError(f"{stage}: {message}")

    parser = StageParser(config_types, prog=f"python -m {stage}")
    known = {field.name for config in config_types for field in dataclasses.fields(config)}
    defaults = {"report_to": ["none"], "ddp_timeout": int(PATIENCE.total_seconds())}
    defaults |= _CPU_DEFAULTS if on_cpu_only() else {}
    parser.set_defaults(**{key: value for key, value in defaults.items() if key in known})
    return parser


def _split_config(argv: list[str]) -> tuple[str | None, list[str]]:
    if "--config" not in argv:
        return None, argv
    at = argv.index("--config")
    if at + 1 == len(argv):
        raise InputError("--config: expected a YAML file after it")
    return argv[at + 1], argv[:at] + argv[at + 2 :]


def _named_options(argv: list[str]) -> list[str]:
    options = [word[2:].split("=")[0] for word in argv if word.startswith("--")]
    return [option for option in options if option != "help"]


def _on_command_line(value: Any) -> bool:
    return value is not None and value != []


def _to_argv(given: dict[str, Any]) -> list[str]:
    """Spell a YAML mapping as options, so that argparse checks its types and choices like the command line's."""
    argv: list[str] = []
    for key, value in given.items():
        if isinstance(value, list) and value:
            argv += [f"--{key}", *map(str, value)]
        elif isinstance(value, dict):
            argv.append(f"--{key}={json.dumps(value)}")
        elif _on_command_line(value):
            argv.append(f"--{key}={value}")
    return argv


def _value_of(configs: tuple[Any, ...], name: str) -> Any:
    return next(getattr(config, name) for config in configs if hasattr(config, name))
