"""One row a pair scores as two rows do, on every architecture that can take it; the others are found out."""

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification

from reward_model.pair_batch import (
    attention_masks,
    common_prefix,
    enable_shared_rows,
    one_row_a_dialogue,
    one_row_each,
    probe,
    row_length,
    shared_row_scores,
)

PAD = 0
SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": PAD,
    "num_labels": 1,
}
WINDOWED = {"sliding_window": 6, "layer_types": ["full_attention", "sliding_attention", "full_attention"]}
ARCHITECTURES = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {}),
    "mistral, window shorter than the text": ("MistralConfig", {"sliding_window": 6}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2, a layer with a window": ("Qwen2Config", {"use_sliding_window": True, **WINDOWED}),
    "qwen3": ("Qwen3Config", {}),
    "gemma": ("GemmaConfig", {}),
    "gemma2, windows and capped logits": ("Gemma2Config", WINDOWED),
    "gemma3, windows and two rotary bases": ("Gemma3TextConfig", WINDOWED),
    "phi3": ("Phi3Config", {"pad_token_id": PAD}),
    "gpt2, learned positions": ("GPT2Config", {"n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 4}),
}


def make_model(name, options, attention="sdpa"):
    torch.manual_seed(0)
    config = getattr(transformers, name)(**{**SIZES, **options})
    attention = "eager" if name == "Gemma2Config" else attention  # sdpa cannot cap logits
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention).eval()
    with torch.no_grad():
        model.score.weight.normal_(std=0.5)  # scores that differ by much more than the tolerance
    enable_shared_rows(model)
    return model


def make_pairs(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def tokens(count):
        return torch.randint(1, SIZES["vocab_size"], (count,), generator=generator).tolist()

    prompts = [(tokens(prompt), answers) for prompt, *answers in shapes]
    return [[prompt + tokens(answer) for answer in answers] for prompt, answers in prompts]


def shared_scores(model, groups, **options):
    return model(**one_row_each(groups, [common_prefix(group) for group in groups], PAD, **options)).logits


def scores_by_answer(model, groups):
    rows = one_row_each(groups, [common_prefix(group) for group in groups], PAD)
    return shared_row_scores(model, **rows, by_answer=True)[rows["ends"] >= 0]


def separate_scores(model, groups):
    rows = one_row_a_dialogue([dialogue for group in groups for dialogue in group], PAD)
    return model(**rows).logits.view(len(groups), -1)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shared_rows_score_as_rows_of_their_own(architecture, attention):
    model = make_model(*ARCHITECTURES[architecture], attention)
    pairs = make_pairs([(12, 9, 4), (3, 1, 10), (20, 2, 2), (1, 7, 8)])
    with torch.no_grad():
        expected = separate_scores(model, pairs)
        torch.testing.assert_close(shared_scores(model, pairs), expected, atol=1e-5, rtol=0)
    assert (expected[:, 0] - expected[:, 1]).abs().min() > 1e-3  # or answers that see each other would go unnoticed
    assert probe(model, PAD) is None


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attending_answer_by_answer_scores_as_rows_of_their_own(architecture):
    model = make_model(*ARCHITECTURES[architecture])
    groups = make_pairs([(12, 9, 4, 1, 7, 3), (20, 2, 2), (1, 7, 8)])
    before = model.config._attn_implementation
    with torch.no_grad():
        found = scores_by_answer(model, groups)
        expected = torch.cat([separate_scores(model, [group])[0] for group in groups])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert model.config._attn_implementation == before
    assert probe(model, PAD, by_answer=True) is None


def test_attention_answer_by_answer_stays_out_of_training():
    """It is for scoring alone; a row that trains is attended to under one mask, whose gradients are tested below."""
    model, pairs = make_model("LlamaConfig", {}), make_pairs([(5, 3, 4)])
    model.model.layers[0].self_attn.register_forward_pre_hook(
        lambda attention, inputs: implementations.append(attention.config._attn_implementation)
    )
    implementations: list[str] = []
    shared_scores(model, pairs)
    scores_by_answer(model, pairs)
    assert implementations == ["sdpa", "sdpa_answer_by_answer"]


def test_gradients_are_those_of_rows_of_their_own():
    model = make_model("LlamaConfig", {})
    pairs = make_pairs([(12, 9, 4), (3, 1, 10)])
    gradients = []
    for scores in (shared_scores(model, pairs), separate_scores(model, pairs)):
        model.zero_grad()
        (scores[:, 0] - scores[:, 1]).sigmoid().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_prompt_may_have_many_answers():
    model = make_model("MistralConfig", {"sliding_window": 6})
    groups = make_pairs([(12, 9, 4, 1, 7), (3, 1, 10, 10, 2)])
    with torch.no_grad():
        torch.testing.assert_close(shared_scores(model, groups), separate_scores(model, groups), atol=1e-5, rtol=0)


def test_padding_to_a_multiple_changes_no_score():
    model, pairs = make_model("LlamaConfig", {}), make_pairs([(5, 3, 4), (2, 2, 2)])
    assert one_row_each(pairs, [5, 2], PAD, multiple=32)["input_ids"].shape == (2, 32)
    assert one_row_a_dialogue(pairs[0], PAD, multiple=32)["input_ids"].shape == (2, 32)
    with torch.no_grad():
        padded = shared_scores(model, pairs, multiple=32)
        torch.testing.assert_close(padded, shared_scores(model, pairs), atol=1e-5, rtol=0)


def test_row_layout_by_hand():
    batch = one_row_each([[[5, 6, 7, 8], [5, 6, 9]], [[1, 2], [1, 3]]], [2, 1], PAD)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [1, 2, 3, PAD, PAD]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 2], [0, 1, 1, 0, 0]]
    assert batch["segments"].tolist() == [[0, 0, 1, 1, 2], [0, 1, 2, -1, -1]]
    assert batch["ends"].tolist() == [[3, 4], [1, 2]]


def test_mask_by_hand_keeps_the_answers_apart_and_the_window_to_positions():
    model = make_model("MistralConfig", {"sliding_window": 2})
    batch = one_row_each([[[5, 6, 7, 8], [5, 6, 9]]], [2], PAD)
    mask = attention_masks(model, batch["segments"], batch["position_ids"])
    expected = [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 1, 0, 0, 1],  # the second answer sees the prompt's last token, as near as the first answer does
    ]
    assert mask[0, 0].int().tolist() == expected


@pytest.mark.parametrize(
    ("dialogues", "prefix"),
    [
        ([[1, 2, 3, 4], [1, 2, 9, 4]], 2),
        ([[1, 2], [1, 2, 3]], 1),  # one begins with the other: each keeps a token of its own to be scored at
        ([[4], [5]], 0),
        ([[1, 2, 3, 4], [1, 2, 3, 5], [1, 9, 9]], 1),
    ],
)
def test_common_prefix(dialogues, prefix):
    assert common_prefix(dialogues) == prefix
    assert row_length(dialogues, prefix) == one_row_each([dialogues], [prefix], PAD)["input_ids"].shape[1]


def test_a_dialogue_that_begins_with_the_other_is_scored_at_its_own_end():
    model, groups = make_model("LlamaConfig", {}), [[[1, 2], [1, 2, 3]]]
    with torch.no_grad():
        torch.testing.assert_close(shared_scores(model, groups), separate_scores(model, groups), atol=1e-5, rtol=0)


JAMBA = {"mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False, "num_experts": 2}
CANNOT = {
    "jamba, recurrent layers": ("JambaConfig", {**JAMBA, "attn_layer_period": 2, "attn_layer_offset": 1}),
    "qwen3-next, linear attention": ("Qwen3NextConfig", {"linear_num_value_heads": 2, "linear_num_key_heads": 2}),
    "bloom, positions from the mask": ("BloomConfig", {}),
    "bert, sees both ways": ("BertConfig", {}),
}


@pytest.mark.parametrize("architecture", CANNOT)
def test_the_probe_finds_who_cannot(architecture):
    name, options = CANNOT[architecture]
    model = AutoModelForSequenceClassification.from_config(getattr(transformers, name)(**{**SIZES, **options}))
    enable_shared_rows(model)
    assert probe(model.eval(), PAD)


def test_the_probe_tells_a_leak_from_rounding(monkeypatch):
    model = make_model("LlamaConfig", {})
    assert probe(model, PAD) is None
    monkeypatch.setattr("reward_model.pair_batch._sees", lambda segments: torch.ones(2, 21, 21).tril().bool())
    assert "its scores would be off by" in probe(model, PAD)


def test_kernels_without_a_free_mask_are_named():
    model = make_model("LlamaConfig", {})
    model.config._attn_implementation = "flash_attention_2"
    assert "set attn_implementation: sdpa" in probe(model, PAD)


def test_other_calls_go_where_they_went_before():
    model = make_model("LlamaConfig", {})
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(model(ids).logits, type(model).forward(model, ids).logits)
