"""What the world does to a run: full and read-only disks, files cut short, signals, a killed owner.

Every fault ends with one line and an exit code, leaves no half-written file under its own name, and the same command
continues once it is gone. The toy's stages take milliseconds; `tests/end_to_end` does the same to real ones.
"""

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chat_model.errors import InputError
from recipes.chain import steps_of
from recipes.cli import main
from recipes.ledger import hold, plan, run
from recipes.progress import StageOutput
from recipes.recipe import read_recipe
from recipes.step import StepFailed
from tests.disks import fill, remount, small_disk

STEPS = ["first", "second", "third", "alone"]
LONG = 100_000  # characters that a disk of a few blocks has no room for
SLEEPS = "300"


def run_toy(toy, *settings):
    """Run the toy recipe in this process and return the steps that started."""
    run(read_recipe(toy.folder, toy.root, settings))
    return toy.calls()


def reasons(toy, *settings):
    states = plan(steps_of(read_recipe(toy.folder, toy.root, settings)))
    return {state.step.name: state.why for state in states if state.state != "done"}


def command(toy, *settings):
    words = [word for setting in settings for word in ("--set", setting)]
    return ["run", str(toy.folder), "--output", str(toy.root), *words]


@contextlib.contextmanager
def no_file_larger_than(size):
    """The system refuses to let a file grow beyond `size` bytes: EFBIG, where a full disk says ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_may_not_grow_fails_its_step_and_no_other(make_toy):
    toy = make_toy()
    toy.edit("second.yaml", padding=LONG)
    with no_file_larger_than(LONG // 2), pytest.raises(StepFailed, match=r"step 'second' failed: OSError: .*too large"):
        run_toy(toy)
    assert toy.calls() == ["first", "second"] and not (toy.root / "second").exists()
    assert run_toy(toy) == STEPS[1:]


@pytest.fixture
def disk(tmp_path):
    """A disk of 512 kB, or a skip where none can be mounted."""
    with small_disk(tmp_path / "disk", 2**19) as place:
        yield place


def test_a_full_disk_is_one_line_and_the_run_continues_when_there_is_room(make_toy, disk):
    toy = make_toy()
    toy.edit("second.yaml", padding=LONG)
    toy.root = disk / "out"
    filler = fill(disk, but=LONG // 2)
    result = CliRunner().invoke(main, command(toy))
    assert result.exit_code == 1 and "Traceback" not in result.stderr
    assert "No space left on device" in result.stderr.splitlines()[-1]
    assert toy.calls()[0] == "first" and not (toy.root / "second").exists()
    filler.unlink()
    assert run_toy(toy) == STEPS[1:]
    assert (toy.root / "third" / "text.txt").read_text() == f"first hello.second hello.{'x' * LONG}third hello."


def test_a_disk_that_is_full_from_the_start_is_one_line(make_toy, disk):
    toy = make_toy()
    toy.root = disk / "out"
    fill(disk, but=0)
    result = CliRunner().invoke(main, command(toy))
    assert (
        result.exit_code in (1, 2) and "No space left on device" in result.stderr and "Traceback" not in result.stderr
    )
    assert toy.calls() == []


def test_a_log_that_takes_no_more_does_not_end_the_stage(tmp_path):
    output = StageOutput()
    with no_file_larger_than(200), output.to(tmp_path / "x.log"):
        for _ in range(100):
            output.write("a line of some length\n")
    assert (tmp_path / "x.log").stat().st_size <= 200
    with output.to(tmp_path / "y.log"):
        output.write("and the next step has a log again\n")
    assert "again" in (tmp_path / "y.log").read_text()


def test_an_output_that_is_read_only_is_refused_with_a_line(make_toy, disk):
    toy = make_toy()
    toy.root = disk / "out"
    run_toy(toy)
    remount(disk, "ro")
    for root in (toy.root, disk / "other"):
        toy.root = root
        result = CliRunner().invoke(main, command(toy))
        assert result.exit_code == 2, result.output
        assert f"{root}: cannot be written to (Read-only file system)" in result.stderr.replace("\n", "")
    assert toy.calls() == []


def test_a_stage_with_a_read_only_output_says_so(make_toy, disk):
    make_toy()
    from toy_stage.__main__ import main as stage

    remount(disk, "ro")
    with pytest.raises(InputError, match=r"output_dir .*out: cannot be written to \(Read-only file system\)"):
        stage([f"--output_dir={disk / 'out'}"])


@pytest.mark.parametrize("fault", ["cut short", "gone"])
def test_an_output_that_lost_something_is_made_again_and_so_is_what_reads_it(make_toy, fault):
    toy = make_toy()
    run_toy(toy)
    file = toy.root / "second" / "text.txt"
    whole = file.read_text()
    file.write_text(whole[:10]) if fault == "cut short" else file.unlink()
    why = f"text.txt is cut short: 10 of {len(whole)} bytes" if fault == "cut short" else "text.txt is gone"
    assert reasons(toy) == {"second": why, "third": "needs 'second', which has to run"}
    assert run_toy(toy) == ["second", "third"]
    assert file.read_text() == whole


def test_what_is_added_to_a_finished_step_does_not_run_it_again(make_toy):
    """`rounds evaluate-rm` stores a calibration in the reward model's folder."""
    toy = make_toy()
    run_toy(toy)
    (toy.root / "alone" / "calibration.json").write_text("{}")
    with (toy.root / "alone" / "text.txt").open("a") as file:
        file.write(" and more")
    assert reasons(toy) == {}


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def start(warm_commands, tmp_path):
    """Return a function that starts the toy recipe in a process of its own, which waits within its second step."""
    started = []

    def start_toy(toy, *settings):
        words = command(toy, f"second.sleep={SLEEPS}", *settings)
        process = warm_commands.start("recipes.cli", *words, log=tmp_path / "printed")
        started.append(process)
        wait_for(lambda: toy.calls_file.exists() and "second" in toy.calls_file.read_text())
        return process

    yield start_toy
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()


def stage_processes(toy):
    """The processes, of whatever parent, that run the toy's second step."""
    config, found = str(toy.root / "configs" / "second.yaml"), []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if config.encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return found


@pytest.mark.parametrize("launched", [False, True], ids=["in this process", "launched"])
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_stops_cleanly_and_the_run_continues(make_toy, start, tmp_path, sign, code, launched):
    toy = make_toy(accelerate="cpu" if launched else None)
    process = start(toy)
    os.kill(process.pid, sign)
    process.join(60)
    assert process.exitcode == code
    printed = (tmp_path / "printed").read_text()
    assert printed.rstrip().endswith("stopped; the same command continues from here") and "Traceback" not in printed
    assert stage_processes(toy) == [] and not (toy.root / "second").exists()
    toy.calls()
    toy.edit("recipe.yaml", accelerate=None)
    assert run_toy(toy) == STEPS[1:]
    assert (toy.root / "third" / "text.txt").read_text() == "first hello.second hello.third hello."


def can_be_held(root) -> bool:
    """Whether no process has the lock, the ones that are on their way out included."""
    try:
        with hold(root):
            return True
    except InputError:
        return False


def test_what_a_killed_owner_launched_keeps_the_folder_until_it_ends(make_toy, start):
    """It still writes there. A second run beside it would be a second writer of the same step."""
    toy = make_toy(accelerate="cpu")
    process = start(toy)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    left = stage_processes(toy)
    assert left, "the launched stage outlives who launched it"
    toy.edit("recipe.yaml", accelerate=None)
    with pytest.raises(InputError, match=f"in use by what process {process.pid} had launched before it was killed"):
        run_toy(toy)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: can_be_held(toy.root))
    toy.calls()
    assert run_toy(toy) == STEPS[1:]


def test_a_launched_stage_that_is_killed_fails_its_step(make_toy, start, tmp_path):
    """As the system does to a process when memory runs out."""
    toy = make_toy(accelerate="cpu")
    process = start(toy)
    os.kill(max(stage_processes(toy)), signal.SIGKILL)
    process.join(60)
    assert process.exitcode == 1 and "step 'second' failed" in (tmp_path / "printed").read_text()
    assert not (toy.root / "second").exists()
