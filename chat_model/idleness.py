"""Early warning that an accelerator stands idle: seconds by phase in every log line, and a word when too many are lost.

A GPU that waits for its data, for a tracker or for a server costs as much as one that computes, and no loss curve shows
it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

TOO_IDLE = 0.2  # share of the time above which a user is told; our choice
REMEDIES = {  # phase -> what shortens it
    "data": "set dataloader_num_workers, or dataloader_prefetch_factor with it",
    "other": "log and save less often (logging_steps, save_steps, save_every)",
    "sample": "the vLLM server samples while these GPUs wait: engine: vllm_colocated samples on them",
}


class PhaseClock:
    """Wall time by phase, for code that is told where a phase ends and not where it begins.

    Args:
        now: returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter):
        self._now = now
        self._seconds: dict[str, float] = {}
        self._since = now()

    def restart(self) -> None:
        """Forget what was measured; the next phase begins now."""
        self._seconds, self._since = {}, self._now()

    def close(self, phase: str) -> None:
        """Count the time since the last call as `phase`'s."""
        now = self._now()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._since
        self._since = now

    def take(self) -> dict[str, float]:
        """Return the seconds by phase since they were last taken."""
        seconds, self._seconds = self._seconds, {}
        return seconds


@dataclass
class IdleWatch:
    """Says once for each phase that it keeps an accelerator waiting. The first measurement warms up and counts not."""

    warm: bool = False
    said: frozenset[str] = frozenset()

    def look(self, seconds: Mapping[str, float], idle: tuple[str, ...]) -> str | None:
        """Return what is to be said of the phases named `idle`, the worst one alone, or None.

        Args:
            seconds: of all phases of the time looked at, these included.
        """
        total, was_warm, self.warm = sum(seconds.values()), self.warm, True
        worst = max(idle, key=lambda phase: seconds.get(phase, 0.0))
        lost = seconds.get(worst, 0.0)
        if not was_warm or worst in self.said or lost <= TOO_IDLE * total:
            return None
        self.said |= {worst}
        share = f"{lost / total:.0%} of the last {total:.1f} s"
        return f"idle: the accelerator did nothing for {share} (seconds_{worst}); {REMEDIES[worst]}"


def named_seconds(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the fields of a log line: ``seconds_<phase>``."""
    return {f"seconds_{phase}": round(value, 4) for phase, value in seconds.items()}
