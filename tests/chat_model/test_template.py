"""Tokens and masks of conversations, against transformers and against an independent slow implementation."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_model.conversation import Message, to_dicts
from chat_model.errors import InputError
from chat_model.template import render, render_prompt

TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="<>|[]", exclude_categories=("Cs", "Cc")), min_size=1, max_size=30
)
CONTENT = TEXT.filter(lambda text: text.strip())
RANDOM = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def conversations(draw):
    system = draw(st.none() | CONTENT)
    messages = [Message("system", system)] if system else []
    for _ in range(draw(st.integers(1, 4))):
        messages += [
            Message("user", draw(CONTENT)),
            Message("assistant", draw(CONTENT), draw(st.sampled_from([None, True, False]))),
        ]
    return tuple(messages)


def slow_mask(tokenizer, messages, end_token):
    """Walk over the turns, tokenizing each growing prefix anew; an answer ends with its `end_token`."""
    mask = []
    for index, message in enumerate(messages):
        rows = to_dicts(messages[: index + 1])
        prompt = message.role != "assistant"
        ids = tokenizer.apply_chat_template(rows, add_generation_prompt=prompt, return_dict=False)
        if message.role == "system" or prompt:
            mask += [False] * (len(ids) - len(mask))
            continue
        new = ids[len(mask) :]
        last = max(place for place, token in enumerate(new) if token == end_token)
        mask += [message.train is not False and place <= last for place in range(len(new))]
    return mask


@RANDOM
@given(messages=conversations())
def test_llama2_tokens_and_mask(tiny_tokenizer, messages):
    rendered = render(tiny_tokenizer, messages)
    assert rendered.token_ids == tiny_tokenizer.apply_chat_template(to_dicts(messages), return_dict=False)
    assert rendered.loss_mask == slow_mask(tiny_tokenizer, messages, tiny_tokenizer.eos_token_id)


@RANDOM
@given(messages=conversations())
def test_chatml_tokens_and_mask(chatml_tokenizer, messages):
    rendered = render(chatml_tokenizer, messages)
    assert rendered.token_ids == chatml_tokenizer.apply_chat_template(to_dicts(messages), return_dict=False)
    assert rendered.loss_mask == slow_mask(chatml_tokenizer, messages, chatml_tokenizer.eos_token_id)


@RANDOM
@given(messages=conversations())
def test_prefix_of_the_training_text_is_the_generation_prompt(tiny_tokenizer, messages):
    whole = render(tiny_tokenizer, messages).token_ids
    for index, message in enumerate(messages):
        if message.role == "assistant":
            prompt = render_prompt(tiny_tokenizer, messages[:index])
            assert whole[: len(prompt)] == prompt


def test_one_bos_an_exchange_and_eos_inside_the_mask(tiny_tokenizer):
    messages = [
        Message("user", "hello"),
        Message("assistant", "the fox"),
        Message("user", "what?"),
        Message("assistant", "red."),
    ]
    rendered = render(tiny_tokenizer, messages)
    assert rendered.token_ids.count(tiny_tokenizer.bos_token_id) == 2
    ends = [place for place, token in enumerate(rendered.token_ids) if token == tiny_tokenizer.eos_token_id]
    assert len(ends) == 2 and all(rendered.loss_mask[place] for place in ends)
    assert not rendered.loss_mask[ends[0] + 1]


def test_text_is_that_of_llama2(tiny_tokenizer):
    from chat_model.template import render_text

    messages = [Message("system", " be kind "), Message("user", "hi"), Message("assistant", "yo")]
    assert render_text(tiny_tokenizer, messages) == "<s>[INST] <<SYS>>\nbe kind\n<</SYS>>\n\nhi [/INST] yo </s>"


def test_train_flag_silences_a_turn(tiny_tokenizer):
    messages = [Message("user", "hello"), Message("assistant", "the fox", train=False)]
    assert not any(render(tiny_tokenizer, messages).loss_mask)


def test_generation_marks_agree_with_our_mask(tiny_tokenizer):
    """The marks that the template carries for other toolkits say the same where upstream reads them rightly."""
    messages = [Message("user", "what color is the fox?"), Message("assistant", "the fox is red.")]
    upstream = tiny_tokenizer.apply_chat_template(
        to_dicts(messages), return_assistant_tokens_mask=True, return_dict=True
    )
    assert [bool(counts) for counts in upstream["assistant_masks"]] == render(tiny_tokenizer, messages).loss_mask


def test_pad_is_distinct(tiny_tokenizer):
    assert tiny_tokenizer.pad_token_id not in (tiny_tokenizer.eos_token_id, tiny_tokenizer.bos_token_id)


def test_template_that_rewrites_earlier_turns_is_refused(chatml_tokenizer):
    from copy import deepcopy

    tokenizer = deepcopy(chatml_tokenizer)
    tokenizer.chat_template = (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + (message['content'] if loop.last else 'gone') + '<|im_end|>' }}"
        "{% endfor %}"
    )
    messages = [Message("user", "hello"), Message("assistant", "a"), Message("user", "b"), Message("assistant", "c")]
    with pytest.raises(InputError, match="prefix"):
        render(tokenizer, messages)


def test_missing_template_is_refused(tiny_tokenizer):
    from copy import deepcopy

    tokenizer = deepcopy(tiny_tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        render_prompt(tokenizer, [Message("user", "hi")])
