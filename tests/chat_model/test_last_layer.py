"""The last layer computed at some places only: the same numbers and gradients there, in less arithmetic."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto import AutoModel

from chat_model.last_layer import last_layer_only_at, last_places

SMALL = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=50)
CONFIGS = [
    *(kind(**SMALL, num_key_value_heads=2, pad_token_id=0) for kind in (LlamaConfig, MistralConfig, Phi3Config)),
    *(kind(**SMALL, num_key_value_heads=2) for kind in (Qwen2Config, MixtralConfig)),
    *(kind(**SMALL, num_key_value_heads=2, head_dim=8) for kind in (Qwen3Config, Gemma2Config)),
    GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50),
]


def build(config, **options):
    torch.manual_seed(0)
    return AutoModel.from_config(config, **options).eval()


def rows():
    """Three rows of tokens, and some places of two of them."""
    token_ids = torch.randint(1, 50, (3, 9), generator=torch.Generator().manual_seed(0))
    places = torch.zeros(3, 9, dtype=torch.bool)
    places[0, 4:7] = places[2, 8] = True
    return token_ids, places


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_states_and_gradients_at_the_places_are_those_of_the_whole_layer(config):
    body, (token_ids, places) = build(config), rows()
    found = []
    for only in (places, torch.ones_like(places)):
        body.zero_grad()
        with last_layer_only_at(body, only):
            states = body(token_ids, use_cache=False)[0][places]
        states.square().sum().backward()
        found.append([states, *(parameter.grad for parameter in body.parameters() if parameter.grad is not None)])
    for mine, whole in zip(*found, strict=True):
        torch.testing.assert_close(mine, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_arithmetic_falls_by_that_of_the_parts_at_all_other_places(config):
    body, (token_ids, places) = build(config), rows()
    flops = []
    for only in (places, torch.ones_like(places)):
        with torch.no_grad(), last_layer_only_at(body, only), FlopCounterMode(display=False) as counter:
            body(token_ids, use_cache=False)
        flops.append(counter.get_total_flops())
    weights = sum(parameter.numel() for name, parameter in body.named_parameters() if is_narrowed(name, config))
    assert flops[1] - flops[0] == 2 * weights * int((~places).sum())


def test_hooks_of_others_change_nothing():
    """DeepSpeed's ZeRO-3 hangs some on every module."""
    body, (token_ids, places) = build(CONFIGS[0]), rows()
    flops = []
    for hooked in (False, True):
        if hooked:
            for module in body.modules():
                module.register_forward_pre_hook(lambda module, inputs: None)
        with torch.no_grad(), last_layer_only_at(body, places), FlopCounterMode(display=False) as counter:
            body(token_ids, use_cache=False)
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1]


def is_narrowed(name: str, config) -> bool:
    """Whether a matrix of the last layer works on single positions; GPT-2's parts and a mixture's experts stay."""
    parts = ("layers.1.self_attn.q_proj.weight", "layers.1.self_attn.o_proj.weight", "layers.1.mlp.")
    return name.startswith(parts) and (config.model_type != "mixtral" or ".mlp." not in name)


def test_outside_the_context_every_position_counts_again():
    body, (token_ids, places) = build(CONFIGS[0]), rows()
    with torch.no_grad():
        before = body(token_ids, use_cache=False)[0]
        with last_layer_only_at(body, places):
            inside = body(token_ids, use_cache=False)[0]
        after = body(token_ids, use_cache=False)[0]
    assert torch.equal(before, after)
    assert not torch.allclose(inside[~places], before[~places])


def test_under_gradient_checkpointing_all_is_computed_since_it_is_computed_again_later():
    body, (token_ids, places) = build(CONFIGS[0]), rows()
    body.gradient_checkpointing_enable({"use_reentrant": False})
    body.train()
    with last_layer_only_at(body, places):
        inside = body(token_ids, use_cache=False)[0]
    assert torch.equal(inside, body(token_ids, use_cache=False)[0])


def test_a_context_within_another_leaves_the_outer_one_in_place():
    body, (token_ids, places) = build(CONFIGS[0]), rows()
    with torch.no_grad(), last_layer_only_at(body, places):
        once = body(token_ids, use_cache=False)[0]
        with last_layer_only_at(body, torch.ones_like(places)):
            assert torch.equal(body(token_ids, use_cache=False)[0], once)
        assert torch.equal(body(token_ids, use_cache=False)[0], once)


def test_last_places_are_those_before_the_padding():
    present = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 1, 0]]).bool()
    assert last_places(present).nonzero().tolist() == [[0, 2], [1, 3], [2, 2]]
