"""Five rounds of real stages: killed at twenty random moments, told to stop, out of room, with outputs cut short.

Whatever happens, the same command ends with the very files of a run that was left alone. The moments of the kills are
drawn from a seed over the steps of the quiet run and the time that each took; what they hit is asserted. No finished
step is made again, but one that lost a part of its output and those that read it.
"""

import json
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.disks import fill, small_disk
from tests.end_to_end.artefacts import began_at, contents, finished, is_done, timeline
from tests.warm_commands import ROUNDS, WarmCommands, kill_group

NUM_KILLS = 20
SEED = 2307
PART = 0.8  # of the time of a step; the rest is left to runs that are faster than the quiet one was
FEWEST_WITHIN_A_STEP, FEWEST_KINDS = 12, 6  # of the kills; a busy machine moves some of them
PATIENCE = 300  # seconds for a step to begin
POLICY, SAMPLES = "RLHF-V5/policy", "RLHF-V5/rejection_sampling"  # steps that only the last few hang on

pytestmark = pytest.mark.timeout(1800)


@dataclass
class Chain:
    """The run of five rounds in `root`, and a copy of it as it was when left alone."""

    warm: WarmCommands
    recipe: Path
    root: Path  # the same for every run, since it stands in what they write
    quiet: Path
    log: Path

    def start(self) -> BaseProcess:
        return self.warm.start(ROUNDS, "run", str(self.recipe), "--output", str(self.root), log=self.log)

    def finish(self) -> None:
        """Run to the end, which must be the quiet run's."""
        process = self.start()
        process.join()
        assert process.exitcode == 0, self.log.read_text()
        if self.quiet.exists():
            compare(contents(self.root), contents(self.quiet))

    def restore(self, *without: str) -> None:
        """Bring `root` back to the end of the quiet run, but for the steps named."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.quiet, self.root, dirs_exist_ok=True)
        for step in without:
            shutil.rmtree(self.root / step)

    def wait_until_within(self, process: BaseProcess, step: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (self.root / f"{step}.partial").exists():
            assert process.is_alive() and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.002)


@pytest.fixture(scope="module")
def chain(warm_commands, five_rounds, tmp_path_factory):
    """The chain with its quiet run done; `root` is not there."""
    place = tmp_path_factory.mktemp("chain")
    chain = Chain(warm_commands, five_rounds, place / "out", place / "quiet", place / "log")
    chain.finish()
    chain.root.rename(chain.quiet)
    return chain


def compare(ours: dict[str, Any], expected: dict[str, Any]) -> None:
    assert ours.keys() == expected.keys()
    assert [name for name in expected if ours[name] != expected[name]] == []
    rounds = [f"RLHF-V{number}" for number in range(1, 6)]
    assert {"sft", *rounds} <= expected["results.json"]["stages"].keys(), "and there is something to compare"


def draw_moments(quiet: Path, rng: random.Random) -> list[tuple[str, float]]:
    """Return `NUM_KILLS` moments, each as a step and the seconds since it began, in the order of the run.

    Every kind of step is among them; which others, and when within each, is drawn.
    """
    spans = timeline(quiet)
    of_kind = {kind_of(quiet, span.step): span for span in rng.sample(spans, len(spans))}
    others = [span for span in spans if span not in of_kind.values()]
    hit = [*of_kind.values(), *rng.sample(others, NUM_KILLS - len(of_kind))]
    return [(span.step, rng.random() * PART * span.seconds) for span in sorted(hit, key=lambda span: span.began)]


def kind_of(quiet: Path, step: str) -> str:
    return json.loads((quiet / step / "run.json").read_text())["stage"]


def kill_at(chain: Chain, step: str, seconds: float) -> bool:
    """Start the run and kill it so long after `step` began, or when it is done; return whether it was within it."""
    begun, done_before = time.time_ns(), is_done(chain.root, step)
    process, deadline = chain.start(), time.monotonic() + PATIENCE
    while began_at(chain.root, step) < begun and not done_before:
        assert process.is_alive() and time.monotonic() < deadline, f"{step} has not begun"
        time.sleep(0.002)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_done(chain.root, step):
        time.sleep(0.002)
    kill_group(process)
    assert process.exitcode == -signal.SIGKILL, "it was killed, it did not end"
    return not is_done(chain.root, step)


def test_twenty_killed_runs_end_with_the_files_of_an_uninterrupted_one(chain):
    within: list[str] = []
    made: dict[str, tuple[int, int]] = {}
    for step, seconds in draw_moments(chain.quiet, random.Random(SEED)):
        if kill_at(chain, step, seconds):
            within.append(step)
        now = finished(chain.root)
        assert {name: now.get(name) for name in made} == made, "a finished step was made again"
        made = now
    check_spread(within, chain.quiet)
    chain.finish()
    assert {name: finished(chain.root)[name] for name in made} == made


def check_spread(within: list[str], quiet: Path) -> None:
    """The kills fell into steps, not between them, and into most kinds."""
    kinds = {kind_of(quiet, step) for step in within}
    print(f"killed within {within}, of the kinds {sorted(kinds)}")
    assert len(within) >= FEWEST_WITHIN_A_STEP and len(kinds) >= FEWEST_KINDS


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_within_training_stops_cleanly(chain, sign, code):
    chain.restore(POLICY)
    printed = len(chain.log.read_text())
    process = chain.start()
    chain.wait_until_within(process, POLICY)
    os.kill(process.pid, sign)
    process.join()
    said = chain.log.read_text()[printed:]
    assert process.exitcode == code and said.rstrip().endswith("stopped; the same command continues from here")
    assert "Traceback" not in said and not (chain.root / POLICY).exists()
    chain.finish()


@pytest.mark.parametrize(
    ("step", "file", "kept"),
    [(POLICY, "model.safetensors", 0.5), (SAMPLES, "conversations.jsonl", 0.99)],
    ids=["checkpoint", "JSONL line"],
)
def test_an_output_that_is_cut_short_is_made_again(chain, step, file, kept):
    """The ledger sees it before any step reads it."""
    chain.restore()
    os.truncate(chain.root / step / file, int((chain.root / step / file).stat().st_size * kept))
    before = finished(chain.root)
    chain.finish()
    again = {name for name, written in finished(chain.root).items() if before[name] != written}
    assert step in again and {name for name in again if name.startswith("RLHF-V4")} == set()
    assert f"{file} is cut short" in chain.log.read_text()


def test_a_disk_that_fills_up_within_training_ends_in_a_line_and_the_run_continues(chain):
    shutil.rmtree(chain.root, ignore_errors=True)
    with small_disk(chain.root, 2**28):
        chain.restore(POLICY)
        filler = fill(chain.root, but=40_000)
        process = chain.start()
        process.join()
        line = chain.log.read_text().splitlines()[-1]
        assert process.exitcode == 1 and f"step '{POLICY}' failed" in line and "No space left on device" in line
        assert not (chain.root / POLICY).exists()
        filler.unlink()
        chain.finish()
