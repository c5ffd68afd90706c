"""A disk of a given size, mounted for as long as a test takes; none where mounting is forbidden."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(place: Path, num_bytes: int) -> Iterator[Path]:
    """Mount an empty disk of `num_bytes` at the folder `place`; the test is skipped where that is forbidden."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(place: Path, option: str) -> None:
    """Give the disk at `place` another size (``size=2m``), or make it read-only (``ro``)."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


def fill(place: Path, but: int) -> Path:
    """Write a file that takes all the room at `place` but so many bytes; return it."""
    free = os.statvfs(place)
    filler = place / "filler"
    filler.write_bytes(b"\0" * max(0, free.f_bavail * free.f_frsize - but))
    return filler
