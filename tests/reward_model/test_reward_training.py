"""The stage whole, on a tiny model: it learns, counts, saves what it trained (LoRA's new head too), and checks that."""

import json
import math
import random

import pytest
import torch
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig

from chat_model.conversation import Message, PreferencePair
from chat_model.errors import InputError
from chat_model.loading import load_scalar_model
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from reward_model.__main__ import main
from reward_model.data import encode_pairs
from reward_model.loss import ranking_loss, safety_loss
from reward_model.scoring import RewardScorer
from reward_model.train import check_reload
from reward_model.trainer import MarginRewardTrainer

QUIET = ["--save_strategy", "no", "--disable_tqdm", "true", "--gradient_checkpointing", "false"]
LEARNING = ["--num_train_epochs", "3", "--per_device_train_batch_size", "32", "--learning_rate", "0.01"]


def make_pairs(count, seed=0):
    """Answers that speak of the fox are better, and those that do not are unsafe."""
    rng = random.Random(seed)
    words = ["red", "lives", "color", "forest", "pirate", "hello"]
    pairs = []
    for index in range(count):
        prompt = (Message("user", f"question {index} {rng.choice(words)}?"),)
        filler = rng.choices(words, k=rng.randint(1, 6))
        good, bad = (Message("assistant", " ".join([*filler, last])) for last in ("the fox", "the owl"))
        rating = rng.choice(["significantly_better", "negligibly_better"])
        domain = ("helpfulness", "safety")[index % 2]
        pairs.append(PreferencePair(prompt, (good,), (bad,), rating, domain, True, False))
    return pairs


@pytest.fixture
def preferences(tmp_path):
    too_long = make_pairs(1)[0]
    too_long = PreferencePair(
        too_long.prompt, (Message("assistant", "fox " * 300),), too_long.rejected, "better", "safety"
    )
    file = tmp_path / "preferences.jsonl"
    write_rows(file, (pair.to_row() for pair in [*make_pairs(300), too_long]))
    return str(file)


def run_stage(checkpoint, preferences, output, *options):
    given = ["--model_name_or_path", str(checkpoint), "--preferences", preferences, "--output_dir", str(output)]
    main([*given, "--max_length", "128", *LEARNING, *QUIET, *options])
    return json.loads((output / "run.json").read_text())


@pytest.fixture
def trainer(tiny_checkpoint, tiny_tokenizer, tmp_path):
    """A trainer over 320 pairs of varied length, length-grouped, with half the safety labels missing."""
    torch.manual_seed(0)
    config = RewardConfig(
        output_dir=str(tmp_path),
        bf16=False,
        use_cpu=True,
        report_to=[],
        per_device_train_batch_size=8,
        train_sampling_strategy="group_by_length",
        dataloader_pin_memory=False,
    )
    rows = encode_pairs(make_pairs(320), tiny_tokenizer, "small", 128)
    rows = rows.map(lambda row, index: {"rejected_safe": math.nan if index % 2 else 0.0}, with_indices=True)
    model = load_scalar_model(tiny_checkpoint, tiny_tokenizer)
    return MarginRewardTrainer(
        model=model, args=config, train_dataset=rows, processing_class=tiny_tokenizer, safety_loss_weight=0.5
    )


def test_learns_counts_and_leaves_a_plain_classifier(tiny_checkpoint, preferences, tmp_path):
    record = run_stage(tiny_checkpoint, preferences, tmp_path / "rm", "--safety_loss_weight", "1.0")
    counts, metrics = record["counts"], record["metrics"]
    assert counts["read"] == 301 and counts["dropped_too_long"] == 1
    assert counts["trained_on"] == counts["mixture"]["pairs"] - 1 == 300 - counts["held_out"]
    assert metrics["accuracy"]["all"]["low"] > 0.8
    assert set(metrics["accuracy"]) == {"significantly_better", "negligibly_better", "all"}
    assert sum(table["all"]["count"] for table in metrics["by_domain"].values()) == counts["held_out"]
    left = {path.name for path in (tmp_path / "rm").iterdir()}
    assert "model.safetensors" in left and not {"training_args.bin", "adapter"} & left

    scorer = RewardScorer.from_checkpoint(tmp_path / "rm", device="cpu")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    unseen = make_pairs(20, seed=9)
    scores = {
        name: scorer.score([pair.prompt + getattr(pair, name) for pair in unseen]) for name in ("chosen", "rejected")
    }
    assert plain.config.num_labels == 1 and torch.equal(plain.score.weight, scorer.model.score.weight)
    assert scores["chosen"].sigmoid().mean() > 0.7 and scores["rejected"].sigmoid().mean() < 0.3  # the safety labels


def test_lora_trains_saves_and_reloads_its_new_head(tiny_checkpoint, preferences, tmp_path):
    output = tmp_path / "rm"
    record = run_stage(tiny_checkpoint, preferences, output, "--use_peft", "true", "--lora_r", "4")
    assert record["metrics"]["accuracy"]["all"]["low"] > 0.8
    from peft import PeftModel
    from safetensors.torch import load_file

    adapter = load_file(output / "adapter" / "adapter_model.safetensors")
    head = next(weight for name, weight in adapter.items() if "score" in name)
    merged = RewardScorer.from_checkpoint(output, device="cpu")
    assert torch.equal(head, merged.model.score.weight)
    base = load_scalar_model(tiny_checkpoint, merged.tokenizer)
    unmerged = RewardScorer(PeftModel.from_pretrained(base, output / "adapter").eval(), merged.tokenizer)
    conversations = [pair.prompt + pair.chosen for pair in make_pairs(10)]
    torch.testing.assert_close(merged.score(conversations), unmerged.score(conversations), atol=1e-4, rtol=1e-4)


def test_loss_is_ranking_with_margin_plus_weighted_safety(trainer):
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, dict(batch))
    scores = trainer.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    expected = ranking_loss(scores[:8], scores[8:], batch["margin"]) + 0.5 * safety_loss(scores, batch["is_safe"])
    torch.testing.assert_close(loss, expected)
    without_safety = ranking_loss(scores[:8], scores[8:], batch["margin"])
    assert abs(loss - without_safety) > 0.1


def test_collator_puts_labels_in_the_order_of_the_rows(trainer):
    rows = [trainer.train_dataset[index] for index in range(4)]
    batch = trainer.data_collator(rows)
    assert batch["input_ids"].shape[0] == 8
    assert batch["is_safe"][:4].tolist() == [1.0] * 4
    assert [label == 0 for label in batch["is_safe"][4:].tolist()] == [True, False, True, False]
    for index, row in enumerate(rows):
        assert batch["input_ids"][index].tolist()[: len(row["chosen_ids"])] == row["chosen_ids"]
        assert batch["input_ids"][4 + index].tolist()[: len(row["rejected_ids"])] == row["rejected_ids"]


def test_length_grouping_reaches_the_batches(trainer):
    padding = [1 - batch["attention_mask"].float().mean().item() for batch in trainer.get_train_dataloader()]
    trainer.args.train_sampling_strategy = "random"
    random_padding = [1 - batch["attention_mask"].float().mean().item() for batch in trainer.get_train_dataloader()]
    assert sum(padding) < 0.8 * sum(random_padding)


def test_a_head_that_was_not_saved_fails_the_stage(tiny_reward_checkpoint, tmp_path):
    scorer = RewardScorer.from_checkpoint(tiny_reward_checkpoint, device="cpu")
    run = StageRun(tmp_path)
    for part in (scorer.model, scorer.tokenizer):
        part.save_pretrained(tmp_path)
    check_reload(run, scorer, make_pairs(4))
    with torch.no_grad():
        scorer.model.score.weight.mul_(1.5)
    with pytest.raises(RuntimeError, match="scores differently, by up to"):
        check_reload(run, scorer, make_pairs(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--marginn", "small"], "unknown key 'marginn' .did you mean 'margin'"),
        (["--load_in_4bit", "true"], "quantized base"),
        (["--on_too_long", "error"], "max_length: 1 of"),
    ],
)
def test_user_mistakes_are_one_line_and_leave_nothing(tiny_checkpoint, preferences, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run_stage(tiny_checkpoint, preferences, tmp_path / "rm", *options)
    assert [path.name for path in tmp_path.iterdir()] == ["preferences.jsonl"]
