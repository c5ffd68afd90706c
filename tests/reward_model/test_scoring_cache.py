"""Scores on disk: found again by the same model alone, whole after a kill, and safe with two writers."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from chat_model.conversation import Message
from chat_model.errors import InputError
from reward_model.calibration import Calibration, store_calibration
from reward_model.score_cache import CACHE_FILE, ScoreCache, model_fingerprint, text_key
from reward_model.scoring import RewardScorer

ROOT = str(Path(__file__).parents[2])
TEXTS = [(Message("user", "the owl?"), Message("assistant", f"the fox is {word}.")) for word in ("red", "blue", "old")]


@pytest.fixture
def checkpoint(tiny_reward_checkpoint, tmp_path):
    return shutil.copytree(tiny_reward_checkpoint, tmp_path / "rm")


def load(checkpoint, cache, **options):
    return RewardScorer.from_checkpoint(checkpoint, cache=cache, device="cpu", **options)


def test_what_was_scored_is_not_scored_again(checkpoint, count_texts, tmp_path):
    first = load(checkpoint, tmp_path / "cache").score(TEXTS[:2])
    moved = checkpoint.rename(tmp_path / "moved")
    scorer = load(moved, tmp_path / "cache")
    rows = count_texts(scorer)
    assert torch.equal(scorer.score(TEXTS)[:2], first)
    assert rows == [1]
    assert torch.equal(scorer.score(TEXTS), scorer.score(TEXTS)) and rows == [1]


def test_a_killed_scoring_goes_on_to_the_very_same_scores(checkpoint, count_texts, tmp_path):
    """Other batches would give other last digits, and a killed run other files than one that was left alone."""
    texts = [(Message("user", f"{word} " * 9), *TEXTS[0][1:]) for word in ("owl", "fox", "red", "hello", "pirate")]
    texts += [(*texts[0][:1], Message("assistant", word)) for word in ("red", "the forest", "no")]
    left_alone = load(checkpoint, None, batch_tokens=70).score(texts)
    scorer = load(checkpoint, tmp_path / "cache", batch_tokens=70)
    score_batch, notes = scorer._score_batch, []

    def dies_at_the_third(groups):
        notes.append(len(groups))
        if len(notes) == 3:
            raise KeyboardInterrupt
        return score_batch(groups)

    scorer._score_batch = dies_at_the_third
    with pytest.raises(KeyboardInterrupt):
        scorer.score(texts)
    scorer = load(checkpoint, tmp_path / "cache", batch_tokens=70)
    notes = count_texts(scorer)
    assert torch.equal(scorer.score(texts), left_alone)
    assert 0 < sum(notes) < len(texts)


def test_the_cache_holds_raw_scores(checkpoint, count_texts, tmp_path):
    raw = load(checkpoint, tmp_path / "cache").score(TEXTS)
    store_calibration(checkpoint, Calibration(2.0, 1.0, "safety_labels", 9))
    scorer = load(checkpoint, tmp_path / "cache")
    rows = count_texts(scorer)
    torch.testing.assert_close(scorer.score(TEXTS), 2 * raw + 1)
    assert rows == []


def test_another_model_shares_the_folder_and_no_score(checkpoint, count_texts, tmp_path):
    scorer = load(checkpoint, tmp_path / "cache")
    scorer.score(TEXTS)
    with torch.no_grad():
        scorer.model.score.weight[0, 0] += 1e-3
    other = RewardScorer(scorer.model, scorer.tokenizer, cache=tmp_path / "cache")
    rows = count_texts(other)
    other.score(TEXTS)
    assert sum(rows) == 3


def test_a_fingerprint_is_of_weights_precision_and_settings(checkpoint, tmp_path):
    def fingerprint(**options):
        return model_fingerprint(load(checkpoint, None, **options).model)

    assert fingerprint() == fingerprint() != fingerprint(dtype="bfloat16")
    model = load(checkpoint, None).model
    model.config.rms_norm_eps *= 2
    assert model_fingerprint(model) != fingerprint()


def test_a_fingerprint_of_an_adapter_is_of_its_weights_and_scaling(tiny_checkpoint, tiny_tokenizer):
    from peft import LoraConfig, get_peft_model

    from chat_model.loading import load_scalar_model

    def fingerprint(alpha, delta=0.0):
        torch.manual_seed(0)
        config = LoraConfig(r=2, lora_alpha=alpha, task_type="SEQ_CLS", target_modules=["q_proj"])
        model = get_peft_model(load_scalar_model(tiny_checkpoint, tiny_tokenizer), config)
        with torch.no_grad():
            next(weight for name, weight in model.named_parameters() if "lora_B" in name).add_(delta)
        return model_fingerprint(model)

    assert fingerprint(8) == fingerprint(8)
    assert len({fingerprint(8), fingerprint(16), fingerprint(8, 0.1)}) == 3


def test_a_score_that_is_no_number_is_not_kept(tmp_path):
    cache = ScoreCache(tmp_path, b"model")
    cache.store({b"a": 1.5, b"b": float("nan")})
    assert cache.look_up([b"a", b"b", b"c"]) == {b"a": 1.5}


def test_a_float_comes_back_bit_for_bit(tmp_path):
    scores = {text_key([index]): score for index, score in enumerate(torch.randn(50).tolist())}
    ScoreCache(tmp_path, b"model").store(scores)
    assert ScoreCache(tmp_path, b"model").look_up(scores) == scores


def test_a_file_that_is_no_cache_is_named(tmp_path):
    (tmp_path / CACHE_FILE).write_text("scores\n" * 400)
    with pytest.raises(InputError, match=f"{CACHE_FILE}: cannot be used as score cache .*; delete it"):
        ScoreCache(tmp_path, b"model")


WRITER = """
import sys
from reward_model.score_cache import ScoreCache, text_key

cache = ScoreCache(sys.argv[1], b"model")
first, last = int(sys.argv[2]), int(sys.argv[3])
for begin in range(first, last, 5):
    cache.store({text_key([index]): float(index) for index in range(begin, begin + 5)})
    print(begin, flush=True)
"""


def start_writer(folder, first, last):
    arguments = [sys.executable, "-c", WRITER, str(folder), str(first), str(last)]
    return subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": ROOT}, stdout=subprocess.PIPE, text=True)


def stored(folder, last):
    found = ScoreCache(folder, b"model").look_up(map(text_key, ([index] for index in range(last))))
    return sorted(found.values())


def test_two_writers_lose_nothing(tmp_path):
    writers = [start_writer(tmp_path, first, first + 150) for first in (0, 100)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert stored(tmp_path, 300) == [float(index) for index in range(250)]


def test_a_killed_writer_leaves_whole_batches(tmp_path):
    writer = start_writer(tmp_path, 0, 10**9)
    for _ in range(20):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait(60)
    found = stored(tmp_path, 10_000)
    assert len(found) >= 100 and len(found) % 5 == 0
    assert found == [float(index) for index in range(len(found))]
    with sqlite3.connect(tmp_path / CACHE_FILE) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
