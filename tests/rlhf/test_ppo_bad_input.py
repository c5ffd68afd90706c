"""What goes wrong at a user's hands: each fault is refused or survived, with its field, file or reason named."""

import errno
import json

import pytest
import torch
from accelerate import Accelerator

from chat_model.conversation import Message, Prompt
from chat_model.errors import InputError
from chat_model.rows import read_rows, write_rows
from rlhf.ppo.__main__ import main
from rlhf.ppo.checkpoint import checkpoints, removed_if_disk_is_full
from rlhf.ppo.config import PPOConfig, check_config
from rlhf.ppo.guards import TrainingFault
from rlhf.ppo.models.interface import Scorers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mini_batch_size": 3}, "batch_size: found 8; expected a multiple of mini_batch_size 3"),
        ({"prompts": ""}, "prompts: is missing"),
        ({"safety_threshold": 1.5}, "safety_threshold: found 1.5"),
        ({"num_iterations": 0}, "num_iterations: found 0"),
        ({"learning_rate": float("nan")}, "learning_rate: found nan"),
        ({"gamma": 1.1}, "gamma: found 1.1"),
        ({"kl_target": 0.0}, "kl_target: found 0.0"),
        ({"patience": 2}, "patience: found 2; expected held_out_prompts"),
        ({"held_out_judge": "rules.judge"}, "held_out_judge: found rules.judge; expected held_out_prompts"),
        ({"allow_uncalibrated_safety": False}, "neither calibrated nor trained with the safety loss"),
        (
            {"old_log_probs": "sampler", "engine": "continuous_batching"},
            "old_log_probs: found sampler with engine continuous_batching; expected engine transformers",
        ),
        ({"max_prompt_tokens": 2}, "no prompt has at most 2 tokens"),
    ],
)
def test_what_no_run_could_honour_is_refused(settings, run_into, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        run_into(tmp_path / "out", {**settings, **change})


def test_other_settings_do_not_throw_a_checkpoint_away(settings, tmp_path, monkeypatch):
    """A start with a changed configuration used to remove the partial folder, hours of work included."""
    words = [f"--{name}={value}" for name, value in settings.items()]
    kill = Accelerator.save_state

    def save_then_stop(self, folder):
        kill(self, folder)
        monkeypatch.setattr("rlhf.ppo.train.draw_prompts", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))

    monkeypatch.setattr(Accelerator, "save_state", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        main([*words, f"--output_dir={tmp_path / 'out'}"])
    changed = [*words, "--learning_rate=2e-3", f"--output_dir={tmp_path / 'out'}"]
    with pytest.raises(InputError, match="learning_rate: was 0.001, is 0.002. Give these back"):
        main(changed)
    (saved,) = checkpoints(tmp_path / "out.partial")
    state = json.loads((saved / "state.json").read_text())
    state["started"]["arguments"]["number of processes"] = 2
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match="number of processes: was 2, is 1"):
        main([*words, f"--output_dir={tmp_path / 'out'}"])
    assert checkpoints(tmp_path / "out.partial"), "refused, yet removed"


@pytest.mark.parametrize(
    "error",  # as Python, safetensors and torch.save raise it on a full file system
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    ],
)
def test_a_full_disk_is_said_and_leaves_no_half_checkpoint(tmp_path, error):
    (tmp_path / "iteration-000002.partial").mkdir()
    with (
        pytest.raises(TrainingFault, match="no space left"),
        removed_if_disk_is_full(tmp_path / "iteration-000002.partial"),
    ):
        raise error
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="another fault"), removed_if_disk_is_full(tmp_path):
        raise RuntimeError("another fault")


def test_after_a_full_disk_the_checkpoint_before_continues(
    settings, scorers, run_into, read_metrics, tmp_path, monkeypatch
):
    settings["save_every"] = 1
    save_state, calls = Accelerator.save_state, []

    def full(self, folder):
        calls.append(save_state(self, folder))
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Accelerator, "save_state", full)
        with pytest.raises(TrainingFault, match="iteration-000002.partial: no space left on the disk"):
            run_into(tmp_path / "out", settings, scorers)
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["iteration-000001"]
    with (tmp_path / "out" / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 3, "rew')  # a line that a kill cut short
    run_into(tmp_path / "out", settings, scorers)
    assert [row["iteration"] for row in read_metrics(tmp_path / "out")] == [1, 2, 3, 4]


def test_rows_that_score_nan_are_kept_for_a_look(settings, scorers, run_into, tmp_path):
    def broken(conversations):
        return torch.tensor([float("nan") if index == 5 else 0.0 for index in range(len(conversations))])

    with pytest.raises(TrainingFault, match="helpfulness reward model scored 1 of 8 .* the rows are in .*rank-0"):
        run_into(tmp_path / "out", settings, Scorers(broken, scorers.safety))
    ((_, row),) = read_rows(tmp_path / "out" / "faults" / "iteration-000001-rank-0.jsonl.gz")
    assert row["prompt"][0]["content"].startswith("what about") and len(row["log_probs"]) == len(row["response_ids"])


def test_a_run_in_which_every_response_is_empty_stops(settings, scorers, run_into, tmp_path, monkeypatch):
    from chat_model.generation import Samples

    def silent(model, tokenizer, prompts, **options):
        return Samples([[1, 5]] * len(prompts), [[tokenizer.eos_token_id]] * len(prompts), ["stop"] * 8, [""] * 8)

    monkeypatch.setattr("rlhf.ppo.collection.sample", silent)
    with pytest.raises(TrainingFault, match="all 8 responses are empty"):
        run_into(tmp_path / "out", settings, scorers)


def test_a_kl_above_the_bound_stops_before_the_update(settings, scorers, run_into, read_metrics, tmp_path):
    changes = {"max_kl": 1e-4, "critic_warmup_iterations": 0, "learning_rate": 1e-2}
    with pytest.raises(TrainingFault, match="above max_kl 0.0001; raise .* the rows are in"):
        run_into(tmp_path / "out", {**settings, **changes}, scorers)
    assert 1 <= len(read_metrics(tmp_path / "out")) < 4


def test_a_sampler_of_another_policy_stops_the_run(settings, scorers, run_into, tmp_path, monkeypatch):
    """As an engine with stale weights would: 0.3 nats a token off, where 0.1 are allowed."""
    from rlhf.ppo import collection

    truth = collection.sampler_log_probs
    monkeypatch.setattr(collection, "sampler_log_probs", lambda *arguments: truth(*arguments) + 0.3)
    with pytest.raises(TrainingFault, match="differ by 0.3 nats a token .* above max_sampler_mismatch 0.1"):
        run_into(tmp_path / "out", settings, scorers)


def test_a_run_whose_responses_collapse_says_so_once(settings, scorers, run_into, tmp_path, monkeypatch, capsys):
    from chat_model.generation import Samples
    from rlhf.ppo import collection

    draw, drawn = collection.sample, []

    def shorter_and_shorter(*arguments, **options):
        drawn.append(draw(*arguments, **options))
        if len(drawn) == 1:
            return drawn[-1]
        firsts = [response[:1] for response in drawn[-1].response_ids]
        return Samples(drawn[-1].prompt_ids, firsts, drawn[-1].finish_reasons, drawn[-1].texts)

    monkeypatch.setattr(collection, "sample", shorter_and_shorter)
    run = run_into(tmp_path / "out", {**settings, "max_new_tokens": 12}, scorers)
    (notice,) = [notice for notice in run.metrics["notices"] if "collapsed" in notice]
    assert notice.endswith("to 1 tokens; look at what the reward pays for")
    assert capsys.readouterr().err.count("collapsed") == 1


def test_a_prompt_longer_than_the_context_is_left_out_and_counted(settings, scorers, run_into, tmp_path):
    questions = ("hi", "what about the fox? " * 1000)
    write_rows(tmp_path / "prompts.jsonl", [Prompt((Message("user", text),)).to_row() for text in questions])
    run = run_into(tmp_path / "out", {**settings, "num_iterations": 1}, scorers)
    assert (run.counts["prompts_read"], run.counts["prompts_kept"], run.counts["prompts_too_long"]) == (2, 1, 1)


def test_mini_batches_that_the_processes_cannot_share_are_refused(settings):
    check_config(PPOConfig(**settings), num_processes=2)
    with pytest.raises(InputError, match="mini_batch_size: found 4 on 3 processes; expected a multiple"):
        check_config(PPOConfig(**settings), num_processes=3)


def test_prompts_without_a_safety_tag_are_noticed(settings, scorers, run_into, tmp_path, capsys):
    write_rows(tmp_path / "prompts.jsonl", [Prompt((Message("user", "hi"),)).to_row()])
    run = run_into(tmp_path / "out", {**settings, "num_iterations": 1}, scorers)
    assert run.counts["prompts_safety"] == 0
    assert any("no prompt is tagged is_safety" in notice for notice in run.metrics["notices"])
    assert "no prompt is tagged" in capsys.readouterr().err


def test_a_reward_model_with_another_tokenizer_scores_text_rendered_anew(
    settings, run_into, tiny_checkpoint, chatml_tokenizer, tmp_path
):
    """Feeding it the policy's token ids, or starting the critic from it, would be noise that nobody sees."""
    from chat_model.loading import load_scalar_model

    folder = tmp_path / "chatml_reward"
    with pytest.warns(UserWarning, match="embeddings grown"):
        load_scalar_model(tiny_checkpoint, chatml_tokenizer).save_pretrained(folder)
    chatml_tokenizer.save_pretrained(folder)
    run = run_into(tmp_path / "out", {**settings, "num_iterations": 1, "helpfulness_reward_model": str(folder)})
    assert any("another tokenizer: the critic starts from the policy" in notice for notice in run.metrics["notices"])
