"""Loading from a folder and from a tiny config, the pad token, scalar heads, and what is refused."""

import os
import shutil

import pytest
import torch

from chat_model.errors import InputError
from chat_model.loading import load_causal_lm, load_config, load_scalar_model, load_tokenizer, parse_tiny


def test_tiny_llama_has_the_named_parts(tiny_tokenizer):
    model = load_causal_lm(
        "tiny:hidden_size=32,num_attention_heads=4,num_key_value_heads=2,num_hidden_layers=3", tiny_tokenizer
    )
    layer = model.model.layers[0]
    assert len(model.model.layers) == 3 and model.config.vocab_size == len(tiny_tokenizer)
    assert layer.self_attn.q_proj.weight.shape == (32, 32) and layer.self_attn.k_proj.weight.shape == (16, 32)
    assert type(layer.input_layernorm).__name__ == "LlamaRMSNorm" and layer.mlp.act_fn(
        torch.tensor(1.0)
    ) == pytest.approx(0.7311, abs=1e-4)
    assert not model.training and model.dtype == torch.float32


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tiny:hidden=64", r"unknown key 'hidden' \(did you mean 'hidden_size'\?\)"),
        ("tiny:hidden_size=big", "field 'hidden_size': found 'big'; expected a whole number"),
    ],
)
def test_bad_tiny_config(spec, message):
    with pytest.raises(InputError, match=message):
        parse_tiny(spec)


def test_tiny_needs_a_tokenizer():
    with pytest.raises(InputError, match="needs a tokenizer"):
        load_causal_lm("tiny:")


def test_folder_without_tokenizer(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)


def test_folder_without_model(tiny_tokenizer, tmp_path):
    tiny_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no model can be loaded from there"):
        load_causal_lm(tmp_path)


def test_missing_pad_token_is_added_and_embeddings_grow(tiny_checkpoint, tiny_tokenizer, tmp_path):
    from transformers import AutoTokenizer

    bare = AutoTokenizer.from_pretrained(tiny_checkpoint)
    bare.pad_token = bare.eos_token
    bare.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="no pad token of its own"):
        tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    tokenizer.add_tokens(["<new>"])
    rows = len(tokenizer) - 1
    with pytest.warns(UserWarning, match=f"grown from {rows} to {rows + 1} rows"):
        model = load_causal_lm(tiny_checkpoint, tokenizer)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert model.config.pad_token_id == tokenizer.pad_token_id


def test_scalar_model_keeps_the_body_and_reloads_the_same(tiny_checkpoint, tiny_model, tiny_tokenizer, tmp_path):
    model = load_scalar_model(tiny_checkpoint, tiny_tokenizer)
    for ours, theirs in zip(model.model.parameters(), load_causal_lm(tiny_checkpoint).model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    model.save_pretrained(tmp_path)
    token_ids = torch.tensor([[5, 6, 7, 8]])
    again = load_scalar_model(tmp_path)
    assert model(token_ids).logits.shape == (1, 1)
    assert torch.equal(again(token_ids).logits, model(token_ids).logits)


def test_scalar_score_does_not_depend_on_padding(tiny_reward_checkpoint, tiny_tokenizer):
    """With a pad token of its own a classifier pools at the end of the text, also after a batch-mate's padding."""
    model = load_scalar_model(tiny_reward_checkpoint, tiny_tokenizer)
    row = tiny_tokenizer("the fox is red.", return_tensors="pt")["input_ids"]
    row = torch.cat([row, torch.tensor([[tiny_tokenizer.eos_token_id]])], 1)
    padded = torch.nn.functional.pad(row, (0, 5), value=tiny_tokenizer.pad_token_id)
    mask = (padded != tiny_tokenizer.pad_token_id).long()
    torch.testing.assert_close(model(padded, attention_mask=mask).logits, model(row).logits)


def test_an_adapter_is_no_whole_model(tiny_adapters, tmp_path):
    with pytest.raises(InputError, match="adapter: is a LoRA adapter; expected a whole model"):
        load_config(tiny_adapters["policy"] / "adapter")
    with pytest.raises(InputError, match=f"{tmp_path}: no model can be loaded"):
        load_config(tmp_path)


def test_head_with_two_labels_is_refused(tiny_checkpoint, tmp_path):
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint, num_labels=2).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="head has 2 labels"):
        load_scalar_model(tmp_path)


@pytest.mark.parametrize("load", [load_causal_lm, load_scalar_model])
def test_a_file_of_weights_that_was_cut_short_is_named(tiny_checkpoint, tmp_path, load):
    shutil.copytree(tiny_checkpoint, tmp_path / "cut")
    file = tmp_path / "cut" / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(InputError, match=f"{file}: cannot be read .*; make it anew or copy it again"):
        load(tmp_path / "cut")


def test_weights_are_safetensors(tiny_checkpoint):
    assert (tiny_checkpoint / "model.safetensors").exists() and not list(tiny_checkpoint.glob("*.bin"))
