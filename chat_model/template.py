"""The Llama 2 chat template, and the only place that turns conversations into token ids and loss masks (section 3.1).

Whatever template a tokenizer carries (ours, ChatML, Llama 3, …), the loss mask is found the same way: the answer of a
turn is the text by which the conversation up to it is longer than the generation prompt before it. Spans of
characters become spans of tokens by the tokenizer's offsets. So a prefix of the training text *is* the generation
prompt, and the mask needs no `{% generation %}` marks, whose reading in transformers leaks onto the next turn when a
span ends on stripped white space (transformers#47325). Our template carries the marks all the same, for others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chat_model.conversation import Message
from chat_model.errors import InputError

# The markup of Llama 2: the system text is folded into the first user message, and every exchange is a sequence
# of its own between <s> and </s>. As in Meta's code, contents are stripped.
LLAMA2_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' -%}"
    "{%- set system = '<<SYS>>\\n' + messages[0]['content'].strip() + '\\n<</SYS>>\\n\\n' -%}"
    "{%- set turns = messages[1:] -%}"
    "{%- else -%}{%- set system = '' -%}{%- set turns = messages -%}{%- endif -%}"
    "{%- for message in turns -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{- raise_exception('user and assistant messages must alternate, the user first') -}}"
    "{%- endif -%}"
    "{%- if message['role'] == 'user' -%}"
    "{{- bos_token + '[INST] ' + (system if loop.first else '') + message['content'].strip() + ' [/INST]' -}}"
    "{%- else -%}"
    "{%- generation -%}{{- ' ' + message['content'].strip() + ' ' + eos_token -}}{%- endgeneration -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
)


@dataclass(frozen=True)
class Rendered:
    """A conversation as tokens. Both lists have length T; `loss_mask` is True where the token counts."""

    token_ids: list[int]
    loss_mask: list[bool]


def render(tokenizer: Any, messages: Sequence[Message]) -> Rendered:
    """Return the training tokens of a conversation and the mask of those that get loss.

    The mask covers each assistant message whose `train` is not False, its end-of-turn token included.

    Raises:
        InputError: when the template is not prefix-stable (the text before an answer is not its generation prompt), or
            a token reaches across the border between prompt and answer.
    """
    text = _text(tokenizer, messages)
    token_ids, offsets = _tokenize(tokenizer, text)
    loss_mask = [False] * len(token_ids)
    for begin, end in _answer_spans(tokenizer, messages, text):
        _mark(loss_mask, offsets, begin, end)
    return Rendered(token_ids, loss_mask)


def render_token_ids(tokenizer: Any, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
    """Return the tokens of each conversation, as `render` does, for what needs no mask: in one go, and so faster."""
    texts = [_text(tokenizer, messages) for messages in conversations]
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []


def render_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Return the token ids of a conversation that waits for an answer; they end where the assistant starts."""
    return _tokenize(tokenizer, _text(tokenizer, messages, add_generation_prompt=True))[0]


def render_text(tokenizer: Any, messages: Sequence[Message]) -> str:
    """Return the training text of a conversation, markup included."""
    return _text(tokenizer, messages)


def mark_text(tokenizer: Any, messages: Sequence[Message], marked: str) -> list[bool]:
    """Return which training tokens of a conversation hold a character of the first occurrence of `marked` in it [T].

    Raises:
        InputError: when the rendered conversation does not hold `marked`.
    """
    text, marked = _text(tokenizer, messages), marked.strip()
    begin = text.find(marked)
    if begin < 0:
        raise InputError(f"chat template of {tokenizer.name_or_path}: its text does not hold {marked!r}")
    end = begin + len(marked)
    return [first < end and last > begin for first, last in _tokenize(tokenizer, text)[1]]


def _text(tokenizer: Any, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
    if not tokenizer.chat_template:
        raise InputError(
            f"tokenizer {tokenizer.name_or_path}: has no chat template; set one or start from a chat model"
        )
    rows = [{"role": message.role, "content": message.content} for message in messages]
    return tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=add_generation_prompt)


def _tokenize(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokenize rendered text, whose template has written every special token already (no second BOS)."""
    if not tokenizer.is_fast:
        raise InputError(
            f"tokenizer {tokenizer.name_or_path}: gives no offsets; expected a fast tokenizer (tokenizer.json)"
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return encoded["input_ids"], encoded["offset_mapping"]


def _answer_spans(tokenizer: Any, messages: Sequence[Message], text: str) -> Iterator[tuple[int, int]]:
    """Yield the character span of every assistant message that gets loss, white space after its last token cut off."""
    for index, message in enumerate(messages):
        if message.role != "assistant" or message.train is False:
            continue
        prompt = _text(tokenizer, messages[:index], add_generation_prompt=True)
        upto = text if index == len(messages) - 1 else _text(tokenizer, messages[: index + 1])
        if not (upto.startswith(prompt) and text.startswith(upto.rstrip())):
            raise InputError(
                f"chat template of {tokenizer.name_or_path}: message {index} is rendered differently as a prefix than "
                "within the conversation; train on its last turn only, or use a prefix-stable template"
            )
        yield len(prompt), len(upto.rstrip())


def _mark(loss_mask: list[bool], offsets: list[tuple[int, int]], begin: int, end: int) -> None:
    """Set `loss_mask` for the tokens whose characters lie in [begin, end)."""
    for index, (first, last) in enumerate(offsets):
        if first < begin < last:
            raise InputError(
                f"token {index} reaches across the border between a prompt and its answer (character {begin})"
            )
        if begin <= first < end and last > first:
            loss_mask[index] = True
