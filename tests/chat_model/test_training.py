"""What a trainer's killed run left behind: only a checkpoint that was saved to its end is continued."""

import pytest

from chat_model.stage import StageRun
from chat_model.training import finish, resume_from


@pytest.fixture
def run(tmp_path):
    """A run with whole checkpoints at steps 9 and 10, one whose state was cut short, and one without a state."""
    for step, state in ((9, "{}"), (10, "{}"), (11, '{"global_step": 1'), (12, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"")
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    return StageRun(tmp_path, resumed=True)


def test_a_checkpoint_that_was_cut_off_is_passed_over(run, tmp_path):
    assert resume_from(run) == str(tmp_path / "checkpoint-10")
    assert resume_from(StageRun(tmp_path)) is None, "a run that begins anew continues nothing"


def test_nothing_whole_means_from_the_start(run, tmp_path):
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").unlink()
    assert resume_from(run) is None


def test_a_kill_while_checkpoints_are_removed_leaves_none_that_counts_as_whole(run, tmp_path, monkeypatch):
    """Had a half removed one counted, every later start would fail on it."""

    class Killed(Exception):
        pass

    def killed(checkpoint):
        (checkpoint / "model.safetensors").unlink()
        raise Killed

    class Trainer:
        def save_model(self, folder):
            pass

    monkeypatch.setattr("chat_model.training.shutil.rmtree", killed)
    with pytest.raises(Killed):
        finish(run, Trainer())
    left = resume_from(run)
    assert left is None or (tmp_path / left / "model.safetensors").exists()
