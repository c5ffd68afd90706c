"""The stage whole, on a tiny model: it learns, counts, saves what it trained (LoRA's new head too), and checks that."""

import json
import math
import random
import re

import pytest
import torch
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig

from chat_model.conversation import Message, PreferencePair
from chat_model.errors import InputError
from chat_model.loading import load_causal_lm, load_scalar_model
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from reward_model.__main__ import main
from reward_model.collator import PairCollator
from reward_model.data import encode_pairs
from reward_model.loss import ranking_loss, safety_loss
from reward_model.schedule import RewardModelConfig
from reward_model.scoring import RewardScorer
from reward_model.train import check_head, check_reload
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


def encode(pairs, tokenizer):
    """Rows with every other safety label of the rejected answers missing."""
    rows = encode_pairs(pairs, tokenizer, "small", 128)
    return rows.map(lambda row, index: {"rejected_safe": math.nan if index % 2 else 0.0}, with_indices=True)


def make_trainer(checkpoint, tokenizer, folder, pairs, model=None, **options):
    """A trainer of the tiny model on `pairs`; `options` are RewardConfig's and MarginRewardTrainer's fields."""
    torch.manual_seed(0)
    own = {name: options.pop(name) for name in ("batch_tokens", "share_prompt", "callbacks") if name in options}
    settings = {"per_device_train_batch_size": 8, "gradient_checkpointing": False, "save_strategy": "no", **options}
    config = RewardConfig(
        output_dir=str(folder), bf16=False, use_cpu=True, report_to=[], dataloader_pin_memory=False, **settings
    )
    return MarginRewardTrainer(
        model=model or load_scalar_model(checkpoint, tokenizer),
        args=config,
        train_dataset=encode(pairs, tokenizer),
        processing_class=tokenizer,
        safety_loss_weight=0.5,
        **own,
    )


@pytest.fixture
def trainer(tiny_checkpoint, tiny_tokenizer, tmp_path):
    return make_trainer(tiny_checkpoint, tiny_tokenizer, tmp_path, make_pairs(40), batch_tokens=200, num_train_epochs=1)


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


def test_a_compiled_model_has_the_same_losses(tiny_checkpoint, tiny_tokenizer, tmp_path):
    """By dynamo without a compiler behind it, which would take a minute here: what is compiled is the same graph."""
    from torch._dynamo.utils import counters

    counters.clear()
    compiled, losses = {"torch_compile": True, "torch_compile_backend": "eager"}, []
    for options in ({}, compiled):
        sizes = {"per_device_train_batch_size": 40, "num_train_epochs": 2, "logging_steps": 1}
        trainer = make_trainer(tiny_checkpoint, tiny_tokenizer, tmp_path, make_pairs(40), **sizes, **options)
        trainer.train()
        losses.append([row["loss"] for row in trainer.state.log_history if "loss" in row])
    assert counters["frames"]["ok"] > 0, "nothing was compiled"
    assert len(losses[0]) == 2 and losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_loss_is_ranking_with_margin_plus_weighted_safety(trainer):
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(8)])["passes"][0]
    trainer.model.eval()
    rows = {row["pair"]: row for row in trainer.train_dataset}
    sides = [[rows[pair][name] for pair in batch["pair"]] for name in ("chosen_ids", "rejected_ids")]
    with torch.no_grad():
        scores = [torch.cat([trainer.model(torch.tensor([ids])).logits[0] for ids in side]) for side in sides]
        loss = trainer.compute_loss(trainer.model, batch)
    ranking = ranking_loss(*scores, batch["margin"])
    safety = safety_loss(torch.stack(scores, 1).flatten(), batch["is_safe"].flatten())
    torch.testing.assert_close(loss, ranking + 0.5 * safety, atol=1e-5, rtol=0)
    assert safety > 0.1


@pytest.mark.parametrize("share_prompt", [True, False])
def test_collator_keeps_labels_beside_their_answers(tiny_tokenizer, share_prompt):
    rows = encode(make_pairs(6), tiny_tokenizer).to_list()
    passes = PairCollator(tiny_tokenizer.pad_token_id, batch_tokens=150, share_prompt=share_prompt)(rows)["passes"]
    assert len(passes) > 1 and sorted(pair for one in passes for pair in one["pair"]) == list(range(6))
    for one in passes:
        assert one["num_computed"] == one["tokens"]["input_ids"].numel() <= 150 and one["num_tokens"] <= 150
        for place, pair in enumerate(one["pair"]):
            assert one["margin"][place] == rows[pair]["margin"]
            assert one["is_safe"][place, 0] == 1 and one["is_safe"][place, 1].isnan() == bool(pair % 2)
            ids = one["tokens"]["input_ids"]
            first = ids[place].tolist()[: len(rows[pair]["chosen_ids"])]
            assert first == rows[pair]["chosen_ids"]
            if not share_prompt:
                second = ids[len(one["pair"]) + place].tolist()[: len(rows[pair]["rejected_ids"])]
                assert second == rows[pair]["rejected_ids"]


DESCENT = {"optim": "sgd", "learning_rate": 0.2, "max_grad_norm": 0.0, "logging_steps": 1, "num_train_epochs": 1}
WHOLE = {"per_device_train_batch_size": 8, "batch_tokens": None}
WAYS = {
    "in passes of few tokens": {"batch_tokens": 100},
    "accumulated": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
    "accumulated, in passes": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "batch_tokens": 60},
    "two rows a pair": {"share_prompt": False},
    "two rows, in passes": {"share_prompt": False, "batch_tokens": 100},
    "activations computed twice": {"gradient_checkpointing": True, "batch_tokens": 100},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_step_is_the_same_however_it_is_computed(tiny_checkpoint, tiny_tokenizer, tmp_path, way):
    """Plain descent, so that the weights show the gradients; 21 pairs, so that the steps are unlike in size."""
    weights, losses = [], []
    for options in (WHOLE, {**WHOLE, **WAYS[way]}):
        model = load_scalar_model(tiny_checkpoint, tiny_tokenizer)
        torch.manual_seed(0)
        torch.nn.init.normal_(model.score.weight, std=0.3)  # or the body would hardly move
        trainer = make_trainer(None, tiny_tokenizer, tmp_path, make_pairs(21), model, **DESCENT, **options)
        trainer.train()
        weights.append({name: weight.detach() for name, weight in trainer.model.named_parameters()})
        losses.append([row["loss"] for row in trainer.state.log_history if "loss" in row])
    assert len(losses[0]) == 3 and losses[1] == pytest.approx(losses[0], abs=1e-5)
    start = load_scalar_model(tiny_checkpoint, tiny_tokenizer).state_dict()
    moved = [(weight - start[name]).abs().max() for name, weight in weights[0].items() if name != "score.weight"]
    assert min(moved) > 1e-4 and max(moved) > 1e-2  # beside which the tolerance is small
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-5, rtol=0)


def test_an_architecture_that_cannot_share_rows_trains_with_one_warning(tiny_tokenizer, tmp_path):
    from transformers import BloomConfig

    torch.manual_seed(0)
    config = BloomConfig(vocab_size=len(tiny_tokenizer), hidden_size=32, n_layer=1, n_head=4, num_labels=1)
    model = AutoModelForSequenceClassification.from_config(config)
    with pytest.warns(UserWarning, match="BloomForSequenceClassification: prompts are computed twice") as caught:
        trainer = make_trainer(None, tiny_tokenizer, tmp_path, make_pairs(16), model, num_train_epochs=1)
        trainer.train()
    assert sum("computed twice" in str(warning.message) for warning in caught) == 1
    assert not trainer.data_collator.share_prompt and trainer.state.global_step == 2


def test_padding_is_counted(trainer):
    trainer.train()
    counted = trainer.count_tokens()
    assert counted["tokens"] == sum(trainer.train_dataset["length"])
    assert 0 < counted["padding_share"] < 0.1


def test_a_loss_that_is_no_number_stops_before_the_step_and_names_the_pairs(trainer):
    from transformers import TrainerCallback

    rare = trainer.processing_class(" pirate", add_special_tokens=False)["input_ids"]

    class Poison(TrainerCallback):
        """Makes the embedding of a token that few pairs hold infinite, after the first step."""

        def on_step_end(self, args, state, control, model, **kwargs):
            if state.global_step == 1:
                with torch.no_grad():
                    model.get_input_embeddings().weight[rare] = math.inf

    trainer.add_callback(Poison())
    with pytest.raises(InputError, match=r"step \d+: the loss is nan; it comes from") as raised:
        trainer.train()
    named = [int(number) for number in re.findall(r"(\d+) '<s>\[INST\]", str(raised.value))]
    assert named
    for row in trainer.train_dataset:
        if row["pair"] in named:
            assert set(rare) & {*row["chosen_ids"], *row["rejected_ids"]}
    weights = [weight for name, weight in trainer.model.named_parameters() if "embed" not in name]
    assert all(weight.isfinite().all() for weight in weights)


def test_the_papers_schedule_is_the_default():
    config = RewardModelConfig("unused", bf16=False, use_cpu=True, report_to=[])
    assert (config.num_train_epochs, config.learning_rate, config.weight_decay) == (1, 1e-5, 0.1)
    assert (config.per_device_train_batch_size, config.gradient_checkpointing) == (512, False)
    assert [config.get_warmup_steps(steps) for steps in (20, 1000)] == [5, 30]
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=config.learning_rate)
    from transformers import get_scheduler

    scheduler = get_scheduler(config.lr_scheduler_type, optimizer, 30, 1000, config.lr_scheduler_kwargs)
    rates = []
    for _ in range(1000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert max(rates) == 1e-5 and rates[-1] == pytest.approx(1e-6, rel=1e-2)


def test_what_the_user_sets_stays():
    given = {"gradient_accumulation_steps": 4, "lr_scheduler_type": "cosine", "warmup_steps": 0}
    config = RewardModelConfig("unused", bf16=False, use_cpu=True, report_to=[], **given)
    assert config.per_device_train_batch_size == 128 and config.get_warmup_steps(1000) == 0
    assert not config.lr_scheduler_kwargs  # plain cosine knows no lowest rate
    assert RewardModelConfig("unused", use_cpu=True, warmup_steps=7, bf16=False).get_warmup_steps(1000) == 7


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
        (["--load_in_4bit", "true"], "load_in_4bit: quantized weights cannot be trained; set use_peft"),
        (["--train_sampling_strategy", "sequential"], "invalid choice: 'sequential'"),
        (["--on_too_long", "error"], "max_length: 1 of"),
    ],
)
def test_user_mistakes_are_one_line_and_leave_nothing(tiny_checkpoint, preferences, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run_stage(tiny_checkpoint, preferences, tmp_path / "rm", *options)
    assert [path.name for path in tmp_path.iterdir()] == ["preferences.jsonl"]


def test_a_quantized_base_without_bitsandbytes_is_refused(tiny_checkpoint, preferences, tmp_path, monkeypatch):
    monkeypatch.setattr("chat_model.lora_training.is_bitsandbytes_available", lambda: False)
    with pytest.raises(InputError, match="load_in_4bit: needs the package bitsandbytes"):
        run_stage(tiny_checkpoint, preferences, tmp_path / "rm", "--load_in_4bit", "true", "--use_peft", "true")


def test_an_adapter_of_a_quantized_base_is_merged_into_the_whole_one(tiny_tokenizer, preferences, tmp_path):
    pytest.importorskip("bitsandbytes")
    wide = "tiny:hidden_size=128,intermediate_size=256,num_hidden_layers=2"  # bitsandbytes wants blocks of 64
    for part in (load_causal_lm(wide, tiny_tokenizer), tiny_tokenizer):
        part.save_pretrained(tmp_path / "base")
    options = ["--load_in_4bit", "true", "--use_peft", "true", "--dtype", "bfloat16", "--lora_r", "8"]
    record = run_stage(tmp_path / "base", preferences, tmp_path / "rm", *options)
    assert record["metrics"]["accuracy"]["all"]["low"] > 0.8
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    assert not hasattr(plain.config, "quantization_config") and plain.config.num_labels == 1
    scorer = RewardScorer.from_checkpoint(tmp_path / "rm", device="cpu")
    check_head(StageRun(tmp_path / "rm"), scorer)
    torch.nn.init.zeros_(scorer.model.score.weight)
    with pytest.raises(RuntimeError, match="has another head"):
        check_head(StageRun(tmp_path / "rm"), scorer)


def test_a_checkpoint_with_two_labels_is_refused(tiny_tokenizer, tiny_model, preferences, tmp_path):
    config = tiny_model.config
    config.num_labels = 2
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "two")
    tiny_tokenizer.save_pretrained(tmp_path / "two")
    with pytest.raises(InputError, match="its head has 2 labels; expected a reward model with one"):
        run_stage(tmp_path / "two", preferences, tmp_path / "rm")
    with pytest.raises(InputError, match="its head has 2 labels"):
        RewardScorer.from_checkpoint(tmp_path / "two")


def test_a_checkpoint_without_a_head_does_not_score(tiny_checkpoint):
    with pytest.raises(InputError, match="its weights lack score.weight; expected a one-label sequence classifier"):
        RewardScorer.from_checkpoint(tiny_checkpoint)


def test_a_tokenizer_without_pad_gets_one_and_answers_are_scored_at_their_end(tiny_checkpoint, preferences, tmp_path):
    import shutil

    shutil.copytree(tiny_checkpoint, tmp_path / "no_pad")
    file = tmp_path / "no_pad" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["pad_token"]
    file.write_text(json.dumps(settings))
    with pytest.warns(UserWarning, match="no pad token of its own; added <pad>"):
        run_stage(tmp_path / "no_pad", preferences, tmp_path / "rm")
    scorer = RewardScorer.from_checkpoint(tmp_path / "rm", device="cpu")
    assert scorer.tokenizer.pad_token_id == scorer.pad_token_id != scorer.tokenizer.eos_token_id
    pair = make_pairs(1)[0]
    long = pair.prompt + (Message("assistant", "red " * 40),)
    together, alone = scorer.score([pair.prompt + pair.chosen, long]), scorer.score([pair.prompt + pair.chosen])
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=0)
