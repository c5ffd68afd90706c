"""What Ghost Attention promises in the small world, and whether a run's measurements keep it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORGETFUL_FROM, MAX_FORGETFUL = 6, 0.20
HELD_TURNS, MIN_HELD = (2, 4, 6, 20), 0.98
MAX_LOSS = 2.0  # points of helpfulness or safety
MIN_ATTENTION_RATIO = 2.0

ByTurn = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Bar:
    """One promise: what was measured, what was asked for, and whether the one meets the other."""

    name: str
    asked: str
    measured: str
    ok: bool


def hold_against_bars(
    before: ByTurn, after: ByTurn, ratio: float, grades: Mapping[str, Mapping[str, Any]]
) -> list[Bar]:
    """Return the bars.

    Args:
        before, after: explicit adherence by turn, as `gatt.evaluate` records it.
        ratio: attention mass on the instruction at turn 20, after over before.
        grades: helpfulness and safety in points of the models "before" and "after".
    """
    late = [each["adherence"] for turn, each in before.items() if int(turn) >= FORGETFUL_FROM]
    held = [after[str(turn)]["adherence"] for turn in HELD_TURNS]
    forgets = f"at most {max(late):.1%}"
    return [
        Bar(f"baseline from turn {FORGETFUL_FROM} on", f"≤ {MAX_FORGETFUL:.0%}", forgets, max(late) <= MAX_FORGETFUL),
        Bar(
            f"GAtt at turns {', '.join(map(str, HELD_TURNS))}",
            f"≥ {MIN_HELD:.0%}",
            ", ".join(f"{share:.1%}" for share in held),
            min(held) >= MIN_HELD,
        ),
        *(_unharmed(kind, grades) for kind in ("helpfulness", "safety")),
        Bar("attention at turn 20", f"× {MIN_ATTENTION_RATIO:.0f}", f"× {ratio:.2f}", ratio >= MIN_ATTENTION_RATIO),
    ]


def _unharmed(kind: str, grades: Mapping[str, Mapping[str, Any]]) -> Bar:
    change = grades["after"][kind] - grades["before"][kind]
    return Bar(kind, f"loses ≤ {MAX_LOSS:.0f} points", f"{change:+.1f}", change >= -MAX_LOSS)
