"""Resolve a dotted name such as ``recipes.quickstart.rules.judge`` to the callable behind it.

Recipes name their rules (annotators, judges, checkers) this way, as TRL names reward functions.
"""

import importlib
from collections.abc import Callable

from chat_model.errors import InputError


def resolve(name: str) -> Callable:
    """Return the callable called `name` (``package.module.function``).

    Raises:
        InputError: when the module or the attribute does not exist, or is not callable.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"'{name}' cannot be imported ({error}); expected package.module.function") from error
    if not callable(found):
        raise InputError(f"'{name}' is a {type(found).__name__}; expected a function")
    return found
