"""The template that fine-tuning gives a model: Llama 2's where there is none, or one in which every turn can train."""

import pytest

from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.template import LLAMA2_TEMPLATE, render, render_prompt
from sft.chat_template import set_chat_template

SAID = (("user", "what color is the fox?"), ("assistant", "the fox is red."), ("user", "and?"), ("assistant", "no."))
DIALOGUE = [Message(role, content) for role, content in SAID]


@pytest.fixture
def qwen3(chatml_tokenizer, monkeypatch):
    from trl.chat_template_utils import qwen3_chat_template

    monkeypatch.setattr(chatml_tokenizer, "chat_template", qwen3_chat_template)
    return chatml_tokenizer


def test_qwen3s_own_template_cannot_be_trained_on_and_its_training_version_can(qwen3):
    """Qwen3 drops the empty thoughts of earlier turns, so an earlier answer reads as no model ever wrote it."""
    with pytest.raises(InputError, match="rendered differently as a prefix"):
        render(qwen3, DIALOGUE)
    set_chat_template(qwen3, "training")
    rendered = render(qwen3, DIALOGUE)
    trained = [token for token, counts in zip(rendered.token_ids, rendered.loss_mask, strict=True) if counts]
    answers = qwen3.decode(trained)
    assert answers.count("<|im_end|>") == 2 and "the fox is red." in answers and "what color" not in answers
    prompt = render_prompt(qwen3, DIALOGUE[:3])
    assert rendered.token_ids[: len(prompt)] == prompt


def test_an_answer_sampled_with_its_empty_thoughts_reads_the_same_when_it_is_rendered_again(qwen3):
    set_chat_template(qwen3, "training")
    answers = ("no.", "<think>\n\n</think>\n\nno.")
    bare, sampled = (render(qwen3, [DIALOGUE[0], Message("assistant", text)]) for text in answers)
    assert bare == sampled


def test_templates_that_trl_does_not_know_and_ones_own_stay(chatml_tokenizer, tiny_tokenizer, monkeypatch):
    own = chatml_tokenizer.chat_template
    for choice in ("own", "training"):
        set_chat_template(chatml_tokenizer, choice)
        assert chatml_tokenizer.chat_template == own
    with pytest.raises(InputError, match="chat_template: llama2, but .* brings a template"):
        set_chat_template(chatml_tokenizer, "llama2")
    monkeypatch.setattr(tiny_tokenizer, "chat_template", None)
    for _ in range(2):  # the second time as after a fine-tuning by us
        set_chat_template(tiny_tokenizer, "llama2")
        assert tiny_tokenizer.chat_template == LLAMA2_TEMPLATE
