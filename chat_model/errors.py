"""The one exception that stands for a user's mistake.

Commands show it as a single line without a traceback; everything else that is raised is a fault of ours, shown whole.
"""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message names the file and line or field, what was found, and what to do."""


def suggestion(unknown: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest of `known`, or an empty string when nothing is close."""
    close = difflib.get_close_matches(unknown, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
