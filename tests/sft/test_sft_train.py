"""The stage as a user runs it: packing isolates documents, training learns, a killed run resumes exactly."""

import json

import pytest
import torch

from chat_model.rows import read_rows, write_rows
from chat_model.stage import StageRun
from sft.__main__ import main

COLORS = {"fox": "red", "owl": "brown", "frog": "green", "swan": "white"}


@pytest.fixture
def chats(tmp_path):
    """Dialogues of different lengths, so that packing puts several into a row."""
    rows = []
    for repeat in range(12):
        for name, color in COLORS.items():
            exchange = [
                {"role": "user", "content": f"what color is the {name}?"},
                {"role": "assistant", "content": f"the {name} is {color}."},
            ]
            rows.append({"messages": exchange * (1 + repeat % 3)})
    write_rows(tmp_path / "chats.jsonl", rows)
    return str(tmp_path / "chats.jsonl")


def options(chats, model, output, **extra):
    fields = {
        "dataset_name": chats,
        "model_name_or_path": model,
        "output_dir": output,
        "max_length": 128,
        "per_device_train_batch_size": 8,
        "gradient_checkpointing": False,
        "learning_rate": 5e-3,
        "num_train_epochs": 2,
        "logging_steps": 1,
        "disable_tqdm": True,
        **extra,
    }
    return [f"--{key}={value}" for key, value in fields.items()]


def load_weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_training_learns_and_records(chats, tiny_checkpoint, tmp_path):
    main(options(chats, tiny_checkpoint, tmp_path / "out", eval_share=0.25, num_train_epochs=6))
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    losses = [row["loss"] for _, row in read_rows(tmp_path / "out" / "metrics.jsonl") if "loss" in row]
    assert losses[-1] < losses[0] / 2 and run["metrics"]["held_out_loss"] < losses[0] / 2
    assert run["counts"]["train"]["rows_read"] == 36 and run["counts"]["held_out"]["rows_read"] == 12
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def test_a_compiled_model_has_the_same_losses_and_leaves_the_same_names(chats, tiny_checkpoint, tmp_path):
    """By dynamo without a compiler behind it, which would take a minute here: what is compiled is the same graph."""
    from safetensors import safe_open

    compiled = {"torch_compile": True, "torch_compile_backend": "eager"}
    losses, names = {}, {}
    for name, extra in (("plain", {}), ("compiled", compiled)):
        main(options(chats, tiny_checkpoint, tmp_path / name, per_device_train_batch_size=48, **extra))
        losses[name] = [row["loss"] for _, row in read_rows(tmp_path / name / "metrics.jsonl") if "loss" in row]
        names[name] = set(safe_open(tmp_path / name / "model.safetensors", "pt").keys())
    assert len(losses["plain"]) == 2 and names["compiled"] == names["plain"]
    assert losses["compiled"] == pytest.approx(losses["plain"], rel=1e-5)


def make_small_trainer(rows, checkpoint, tokenizer, folder, packing=False):
    from trl import ModelConfig, SFTConfig

    from sft.train import make_trainer

    config = SFTConfig(
        output_dir=str(folder), packing=packing, max_length=128, per_device_train_batch_size=4, bf16=False,
        use_cpu=True, gradient_checkpointing=False, report_to="none", dataloader_pin_memory=False,
    )  # fmt: skip
    return make_trainer(
        StageRun(folder), tokenizer, rows, None, config, ModelConfig(model_name_or_path=str(checkpoint))
    )


@pytest.mark.parametrize("packing", [False, True])
def test_what_no_loss_reads_is_left_out_of_the_last_layer(chats, tiny_checkpoint, tiny_tokenizer, tmp_path, packing):
    """TRL's own trainer has the same loss and gradients, and more arithmetic."""
    from torch.utils.flop_counter import FlopCounterMode
    from trl import SFTTrainer

    from sft.data import read_documents, tokenize

    rows = tokenize(tiny_tokenizer, list(read_documents(chats)), 128).rows
    trainer = make_small_trainer(rows, tiny_checkpoint, tiny_tokenizer, tmp_path, packing)
    batch = next(iter(trainer.get_train_dataloader()))
    assert (batch["labels"] == -100).float().mean() > 0.3
    found = []
    for kind in (type(trainer), SFTTrainer):
        trainer.model.zero_grad()
        with FlopCounterMode(display=False) as counter:
            loss = kind.compute_loss(trainer, trainer.model, dict(batch), num_items_in_batch=torch.tensor(50.0))
            loss.backward()
        gradients = [parameter.grad.clone() for parameter in trainer.model.parameters()]
        found.append((counter.get_total_flops(), [loss.detach(), *gradients]))
    (fewer, mine), (more, theirs) = found
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
    assert fewer < 0.95 * more


def test_packed_loss_equals_unpacked_loss(chats, tiny_checkpoint, tiny_tokenizer, tmp_path):
    """Sum of the loss over all rows, computed by the trainer's own collator and call, packed and not."""
    from sft.data import read_documents, tokenize

    rows = tokenize(tiny_tokenizer, list(read_documents(chats)), 128).rows
    losses = {}
    for packing in (False, True):
        trainer = make_small_trainer(rows, tiny_checkpoint, tiny_tokenizer, tmp_path / str(packing), packing)
        trainer.model.eval()
        total = torch.tensor(1.0)
        with torch.no_grad():
            batches = list(trainer.get_train_dataloader())
            losses[packing] = sum(
                trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=total) for batch in batches
            )
    assert len(batches) * 4 < len(rows), "packing put several documents into a row"
    torch.testing.assert_close(losses[True], losses[False], rtol=1e-5, atol=0)


def test_killed_run_resumes_to_the_same_weights(chats, tiny_checkpoint, tmp_path, monkeypatch):
    from transformers import Trainer

    saving = {"save_strategy": "steps", "save_steps": 4}
    main(options(chats, tiny_checkpoint, tmp_path / "whole", **saving))

    step = Trainer.training_step
    calls = []

    def dies_at_seven(*args, **kwargs):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", dies_at_seven)
    with pytest.raises(KeyboardInterrupt):
        main(options(chats, tiny_checkpoint, tmp_path / "killed", **saving))
    assert not (tmp_path / "killed").exists()
    main(options(chats, tiny_checkpoint, tmp_path / "killed", **saving))
    assert len(calls) == 7 + 12 - 4, "it went on from step 4"
    for name, weight in load_weights(tmp_path / "whole").items():
        assert torch.equal(weight, load_weights(tmp_path / "killed")[name]), name
    steps = [[row["step"] for _, row in read_rows(tmp_path / run / "metrics.jsonl")] for run in ("whole", "killed")]
    assert steps[0] == steps[1]


def test_lora_leaves_a_whole_model_and_the_adapter_that_ppo_on_a_shared_base_takes(chats, tiny_checkpoint, tmp_path):
    from chat_model.adapters import merge_adapter, read_adapter
    from chat_model.loading import load_causal_lm, load_config

    main(options(chats, tiny_checkpoint, tmp_path / "lora", use_peft=True, lora_r=4, lora_target_modules="all-linear"))
    assert load_config(tmp_path / "lora").architectures == ["LlamaForCausalLM"]
    assert read_adapter(tmp_path / "lora").base == str(tiny_checkpoint)
    by_hand = merge_adapter(str(tiny_checkpoint), tmp_path / "lora" / "adapter")
    models = (load_causal_lm(tmp_path / "lora"), by_hand, load_causal_lm(tiny_checkpoint))
    merged, expected, base = (model(torch.tensor([[5, 6, 7]])).logits for model in models)
    torch.testing.assert_close(merged, expected)
    assert not torch.allclose(merged, base)


def test_tiny_model_gets_a_tokenizer_of_its_data(chats, tmp_path):
    from chat_model.loading import load_tokenizer

    main(options(chats, "tiny:hidden_size=32,num_attention_heads=4", tmp_path / "out", vocab_size=400, max_steps=1))
    tokenizer = load_tokenizer(tmp_path / "out")
    assert len(tokenizer) <= 400 and len(tokenizer("what color is the fox?")["input_ids"]) <= 7
