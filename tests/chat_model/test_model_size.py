"""Sizes by arithmetic equal those of real models, so that a plan is not off by a bias, a norm or a tied matrix."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from chat_model.errors import InputError
from chat_model.model_size import four_bit_bytes, read_shape, shape_of
from tests.conftest import TINY

WIDTHS = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 131,
}
MODELS = {
    "llama": {},
    "llama with tied embeddings": {"tie_word_embeddings": True},
    "llama without grouped queries": {"num_key_value_heads": 6},
    "llama with biases": {"attention_bias": True, "mlp_bias": True},
    "llama with wide heads": {"head_dim": 24},
    "mistral": {},
    "qwen2": {},
    "qwen2 with tied embeddings": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16},
    "qwen3 with biases": {"attention_bias": True, "head_dim": 16},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16},
    "gemma3_text": {"head_dim": 16},
    "smollm3": {"pad_token_id": 0},
}


def make(name: str, auto_class=AutoModelForCausalLM, **more):
    """Return the shape of a tiny model by arithmetic, and the model itself on a device without storage."""
    config = AutoConfig.for_model(name.split()[0], **{**WIDTHS, **MODELS[name]}, **more)
    with torch.device("meta"):
        return shape_of(config.to_dict()), auto_class.from_config(config)


def count(model, trained_only=False) -> int:
    return sum(each.numel() for each in model.parameters() if each.requires_grad or not trained_only)


@pytest.mark.parametrize("name", MODELS)
def test_the_language_model_is_counted_exactly(name):
    shape, model = make(name)
    assert shape.causal_lm == count(model)
    assert shape.embedding == model.get_input_embeddings().weight.numel()


@pytest.mark.parametrize("name", [name for name in MODELS if " " not in name])
def test_the_scalar_model_is_counted_exactly(name):
    shape, model = make(name, AutoModelForSequenceClassification, num_labels=1)
    assert shape.classifier == count(model)


@pytest.mark.parametrize("name", ["llama", "llama with wide heads", "qwen2", "qwen3", "gemma2", "mistral"])
@pytest.mark.parametrize("targets", [None, "all-linear", ["q_proj", "down_proj"]])
def test_lora_trains_as_many_parameters_as_planned(name, targets):
    shape, model = make(name)
    wrapped = get_peft_model(
        model, LoraConfig(r=5, target_modules=targets, task_type="CAUSAL_LM"), low_cpu_mem_usage=True
    )
    assert shape.lora(5, [targets] if isinstance(targets, str) else targets) == count(wrapped, trained_only=True)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_lora_with_modules_trained_whole_is_counted_exactly(name):
    shape, model = make(name, AutoModelForSequenceClassification, num_labels=1)
    scalar = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="SEQ_CLS"))
    assert shape.lora(4, ["all-linear"], ["score"]) == count(scalar, trained_only=True)
    shape, model = make(name)
    config = LoraConfig(r=4, target_modules=["v_proj"], modules_to_save=["embed_tokens", "lm_head"])
    whole = get_peft_model(model, config)
    assert shape.lora(4, ["v_proj"], ["embed_tokens", "lm_head"]) == count(whole, trained_only=True)


def test_an_unknown_layer_is_refused_by_name():
    with pytest.raises(InputError, match="no layer 'c_attn'"):
        make("llama")[0].lora(4, ["c_attn"])


def test_an_unknown_architecture_is_refused_and_not_guessed():
    with pytest.raises(InputError, match="sizes of 'gpt_neox' are not known"):
        shape_of(AutoConfig.for_model("gpt_neox").to_dict())
    with pytest.raises(InputError, match="model: its config names no hidden_size"):
        shape_of({"model_type": "llama"})


def test_sizes_of_published_models():
    """Llama 2 7B and 70B as in their config.json; the paper rounds 6,738,415,616 to 7B."""
    seven = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    seventy = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64}
    common = {"model_type": "llama", "vocab_size": 32000}
    assert shape_of({**common, **seven}).causal_lm == 6_738_415_616
    assert shape_of({**common, **seventy, "num_key_value_heads": 8}).causal_lm == 68_976_648_192


def test_the_cache_holds_keys_and_values_of_the_grouped_heads():
    shape, _ = make("llama")
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **WIDTHS))
    cache = model(torch.ones(2, 7, dtype=torch.long), use_cache=True).past_key_values
    real = sum(tensor.nbytes for layer in cache.layers for tensor in (layer.keys, layer.values))
    assert shape.key_value_cache(14, 4) == real


def test_operations_are_twice_the_weights_and_the_attention():
    shape, _ = make("llama")
    weights = 3 * (48 * 48 * 2 + 2 * 48 * 16 + 3 * 48 * 80)
    assert shape.forward_operations(10, mean_context=0) == 10 * 2 * weights
    assert shape.forward_operations(10, mean_context=8) - 10 * 2 * weights == 10 * 4 * 3 * 48 * 8
    assert shape.output_operations(10) == 2 * 10 * 131 * 48


def test_four_bits_shrink_the_linear_layers_alone():
    shape, _ = make("llama")
    whole = four_bit_bytes(shape.causal_lm, 0, 2)
    shrunk = four_bit_bytes(shape.causal_lm, shape.linear_weights, 2)
    assert whole == 2 * shape.causal_lm
    assert whole - shrunk == int(shape.linear_weights * (2 - 0.5625))


def test_a_tiny_config_and_a_folder_have_shapes(tiny_checkpoint, tiny_tokenizer):
    from_config = read_shape(TINY, vocabulary=len(tiny_tokenizer))
    assert from_config == read_shape(tiny_checkpoint)
    assert from_config.causal_lm == count(AutoModelForCausalLM.from_pretrained(tiny_checkpoint))
