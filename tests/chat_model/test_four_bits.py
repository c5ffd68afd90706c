"""A base in four bits trains its adapters as the weights that those four bits stand for would."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from trl import ModelConfig, get_quantization_config

from chat_model.loading import load_causal_lm

WIDE = "tiny:hidden_size=128,intermediate_size=256,num_hidden_layers=2"  # bitsandbytes takes blocks of 64 weights


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # bitsandbytes compiles by torch.jit when it is imported
def test_adapters_get_the_gradients_of_the_rounded_weights(tiny_tokenizer, tmp_path):
    pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    load_causal_lm(WIDE, tiny_tokenizer).save_pretrained(tmp_path)
    config = ModelConfig(load_in_4bit=True, dtype="float32")
    bases = [load_causal_lm(tmp_path, quantization_config=get_quantization_config(config)) for _ in range(2)]
    rounded, plain = bases[0], bases[1].dequantize().float()
    assert (plain.lm_head.weight == load_causal_lm(tmp_path).lm_head.weight).all()  # the head stays whole
    gradients = [gradients_of_adapters(base, tiny_tokenizer) for base in (rounded, plain)]
    assert len(gradients[0]) == 2 * 7 * 2 and rounded.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def gradients_of_adapters(base, tokenizer) -> list[torch.Tensor]:
    """The gradients of all matrices of adapters that begin alike, on rows of random tokens."""
    torch.manual_seed(1)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    token_ids = torch.randint(0, len(tokenizer), (3, 17))
    with torch.no_grad():
        model.eval()(input_ids=token_ids)  # after which, on a CPU, no gradient passed through the base any more
    model.train()
    model(input_ids=token_ids, labels=token_ids).loss.backward()
    return [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
