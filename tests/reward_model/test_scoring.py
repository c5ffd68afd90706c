"""The scorer against one plain forward a conversation, in every order and batch size; and the pad token's trap."""

import json
import random

import pytest
import torch

from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.generation import batches_by_length
from chat_model.loading import load_scalar_model
from chat_model.template import render, render_token_ids
from reward_model.scoring import RewardScorer


def conversation(num_turns, rng):
    words = ["fox", "owl", "red", "lives", "bomb", "hello"]
    text = [" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(2 * num_turns)]
    return tuple(Message(("user", "assistant")[index % 2], content) for index, content in enumerate(text))


@pytest.fixture
def conversations():
    """Six of their own, and of three others prompts with four answers each, the last prompt of 25 words."""
    rng = random.Random(0)
    alone = [conversation(rng.randint(1, 4), rng) for _ in range(6)]
    prompts = [conversation(turns, rng)[:-1] for turns in (2, 4)] + [
        (Message("user", "where does the owl live? " * 5),)
    ]
    answers = [conversation(1, rng)[-1:] for _ in range(12)]
    together = [prompts[index % 3] + answer for index, answer in enumerate(answers)]
    return [*together[:5], *alone, *together[5:]]


def plain_scores(scorer, conversations):
    """One forward a conversation, of the body and the head alone."""
    rows = [torch.tensor([render(scorer.tokenizer, messages).token_ids]) for messages in conversations]
    with torch.no_grad():
        return torch.cat([scorer.model.score(scorer.model.model(row).last_hidden_state[0, -1]) for row in rows])


@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_scores_equal_one_plain_forward_each_in_the_order_given(tiny_reward_checkpoint, conversations, batch_tokens):
    scorer = RewardScorer.from_checkpoint(tiny_reward_checkpoint, batch_tokens=batch_tokens, device="cpu")
    scores = scorer.score(conversations)
    assert scores.dtype == torch.float32 and scores.shape == (18,) and not scores.requires_grad
    torch.testing.assert_close(scores, plain_scores(scorer, conversations), atol=1e-5, rtol=1e-5)


def test_a_prompt_is_computed_once_for_all_of_its_answers(tiny_reward_checkpoint):
    scorer = RewardScorer.from_checkpoint(tiny_reward_checkpoint, device="cpu")
    computed = []
    scorer.model.model.layers[0].register_forward_pre_hook(lambda _, inputs: computed.append(inputs[0].shape[:2]))
    prompt = (Message("user", "where does the owl live? " * 5),)
    answers = [(*prompt, Message("assistant", word)) for word in ("the forest.", "red", "hello there!")]
    assert scorer._takes_shared_rows
    computed.clear()  # of trying it
    scorer.score(answers)
    longest = max(len(render(scorer.tokenizer, messages).token_ids) for messages in answers)
    assert [rows for rows, _ in computed] == [1] and computed[0][1] < 1.5 * longest


def test_a_model_that_takes_no_shared_rows_scores_alike(tiny_reward_checkpoint, conversations, monkeypatch):
    shared = RewardScorer.from_checkpoint(tiny_reward_checkpoint, device="cpu").score(conversations)
    monkeypatch.setattr("reward_model.scoring.probe", lambda *_: "its layers are recurrent")
    monkeypatch.setattr("reward_model.scoring.shared_row_scores", None)
    scorer = RewardScorer.from_checkpoint(tiny_reward_checkpoint, device="cpu")
    torch.testing.assert_close(scorer.score(conversations), shared, atol=1e-5, rtol=1e-5)


def test_rendering_many_gives_the_tokens_of_rendering_each(tiny_tokenizer, conversations):
    each = [render(tiny_tokenizer, messages).token_ids for messages in conversations]
    assert render_token_ids(tiny_tokenizer, conversations) == each
    assert render_token_ids(tiny_tokenizer, []) == []


def test_batches_hold_every_index_once_within_the_budget():
    lengths = [random.Random(1).randint(1, 50) for _ in range(200)]
    batches = list(batches_by_length(lengths, 120))
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    assert all(len(batch) * max(lengths[index] for index in batch) <= 120 for batch in batches)
    assert list(batches_by_length([500], 120)) == [[0]]
    assert list(batches_by_length([], 120)) == []


def test_equal_conversations_are_scored_once(tiny_reward_checkpoint, conversations, count_texts):
    scorer = RewardScorer.from_checkpoint(tiny_reward_checkpoint, device="cpu")
    once, notes = scorer.score(conversations), count_texts(scorer)
    torch.testing.assert_close(scorer.score([*conversations, *conversations]), torch.cat([once, once]))
    assert sum(notes) == len(conversations)
    assert scorer.score([]).shape == (0,)


def test_scoring_leaves_the_training_mode_as_it_was(tiny_reward_checkpoint, conversations):
    scorer = RewardScorer.from_checkpoint(tiny_reward_checkpoint, device="cpu")
    scorer.model.train()
    scorer.score(conversations[:2])
    assert scorer.model.training


def test_pad_that_is_also_the_end_token_is_refused(tiny_reward_checkpoint):
    model = load_scalar_model(tiny_reward_checkpoint)
    scorer = RewardScorer.from_checkpoint(tiny_reward_checkpoint, device="cpu")
    model.config.pad_token_id = scorer.tokenizer.eos_token_id
    with pytest.raises(InputError, match="pad token .* must exist and differ from the end token"):
        RewardScorer(model, scorer.tokenizer)


def test_a_head_with_two_labels_is_refused(tiny_reward_checkpoint, tiny_tokenizer):
    model = load_scalar_model(tiny_reward_checkpoint)
    model.config.num_labels = 2
    with pytest.raises(InputError, match="one label, found 2"):
        RewardScorer(model, tiny_tokenizer)


@pytest.fixture
def adapter(tiny_checkpoint, tiny_tokenizer, tmp_path):
    """A LoRA adapter whose matrices and head are trained, as training leaves it: without a tokenizer of its own."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(r=4, task_type="SEQ_CLS", target_modules=["q_proj", "v_proj"])
    model = get_peft_model(load_scalar_model(tiny_checkpoint, tiny_tokenizer), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name or "score" in name:
                weight.normal_(0, 1.0)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_scores_unmerged_as_it_was_trained_and_as_merged(adapter, tiny_tokenizer, conversations, dtype):
    folder, trained = adapter
    expected = RewardScorer(trained.eval(), tiny_tokenizer).score(conversations)
    scorer = RewardScorer.from_checkpoint(folder, device="cpu", dtype=dtype)
    assert any("lora" in name for name, _ in scorer.model.named_parameters()), "merged"
    tolerance = 1e-5 if dtype == "float32" else 0.05
    torch.testing.assert_close(scorer.score(conversations), expected, atol=tolerance, rtol=tolerance)
    merged = RewardScorer(trained.merge_and_unload(), tiny_tokenizer).score(conversations)
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.2, "scores that hardly differ show nothing"


def test_an_adapter_of_learnt_prompts_is_refused(tiny_reward_checkpoint, tiny_tokenizer):
    """With them a sequence classifier of transformers finds no padding, and scores what stands after the answer."""
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3)
    model = get_peft_model(load_scalar_model(tiny_reward_checkpoint), config)
    with pytest.raises(InputError, match=r"learnt prompts \(PROMPT_TUNING\) cannot be scored; use LoRA"):
        RewardScorer(model, tiny_tokenizer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_type": "CAUSAL_LM"}, "task_type CAUSAL_LM holds no score head"),
        ({"base_model_name_or_path": "./gone"}, "names a base model that cannot be loaded: ./gone"),
        ({"base_model_name_or_path": None}, "field 'base_model_name_or_path' is missing"),
    ],
)
def test_an_adapter_that_is_no_reward_model_is_refused(adapter, tiny_tokenizer, change, message):
    folder, _ = adapter
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    tiny_tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match=message):
        RewardScorer.from_checkpoint(folder)


def test_a_chat_model_is_no_reward_model(tiny_checkpoint):
    with pytest.raises(InputError, match=r"no trained reward model, its weights lack score\.weight"):
        RewardScorer.from_checkpoint(tiny_checkpoint)


def test_a_conversation_beyond_the_context_is_told(tiny_reward_checkpoint, conversations):
    scorer = RewardScorer.from_checkpoint(tiny_reward_checkpoint, device="cpu")
    scorer.model.config.max_position_embeddings = 20
    longer = sum(len(render(scorer.tokenizer, messages).token_ids) > 20 for messages in conversations)
    assert 0 < longer < 18
    with pytest.warns(UserWarning, match=f"{longer} of 18 conversations are longer .* context of 20 tokens"):
        scorer.score(conversations)
