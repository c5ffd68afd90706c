"""A merged adapter is a whole model: same numbers, in the precision asked for, with tokenizer and template."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from chat_model.errors import InputError
from chat_model.loading import load_causal_lm, load_scalar_model, load_tokenizer
from chat_model.merge.__main__ import main

LOADERS = {"CAUSAL_LM": load_causal_lm, "SEQ_CLS": load_scalar_model}


@pytest.fixture(params=sorted(LOADERS))
def trained(request, tiny_checkpoint, tiny_reward_checkpoint, tiny_tokenizer, tmp_path):
    """An adapter's folder, the model it was saved from, and what loads such models."""
    load = LOADERS[request.param]
    base = load(tiny_checkpoint if request.param == "CAUSAL_LM" else tiny_reward_checkpoint)
    torch.manual_seed(0)
    config = LoraConfig(task_type=request.param, r=4, init_lora_weights=False)
    model = get_peft_model(base, config).eval()
    model.save_pretrained(tmp_path / "adapter")
    tiny_tokenizer.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", model, load


def logits(model, tokenizer):
    with torch.no_grad():
        return model(**tokenizer("what color is the fox?", return_tensors="pt")).logits


def test_merged_model_gives_the_adapters_numbers(trained, tiny_tokenizer, tmp_path):
    adapter, model, load = trained
    main([f"--adapter={adapter}", f"--output_dir={tmp_path / 'merged'}"])
    merged = load(tmp_path / "merged")
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    torch.testing.assert_close(logits(merged, tiny_tokenizer), logits(model, tiny_tokenizer), atol=1e-5, rtol=1e-5)
    # The adapter does something, so a merge that forgot it would be seen.
    with model.disable_adapter():
        assert (logits(merged, tiny_tokenizer) - logits(model, tiny_tokenizer)).abs().max() > 1e-3


def test_the_template_travels_and_the_precision_is_the_one_asked_for(trained, tiny_tokenizer, tmp_path):
    adapter, _, load = trained
    main([f"--adapter={adapter}", f"--output_dir={tmp_path / 'merged'}", "--dtype=bfloat16"])
    assert load_tokenizer(tmp_path / "merged").chat_template == tiny_tokenizer.chat_template
    assert next(load(tmp_path / "merged", dtype="auto").parameters()).dtype == torch.bfloat16


def test_a_whole_model_is_refused(tiny_checkpoint, tmp_path):
    with pytest.raises(InputError, match=r"is no LoRA adapter \(no adapter_config.json\)"):
        main([f"--adapter={tiny_checkpoint}", f"--output_dir={tmp_path / 'merged'}"])
    assert not (tmp_path / "merged").exists()
