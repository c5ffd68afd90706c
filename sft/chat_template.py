"""Which chat template a model is fine-tuned with, and so has from then on: its tokenizer is saved with it.

A base model such as Llama 2 brings none. Some models bring one that renders an answer differently once the dialogue
goes on (Qwen3 drops the thoughts of earlier turns), so that no answer but the last can be trained on.
"""

from typing import Any, Literal

from chat_model.errors import InputError
from chat_model.template import LLAMA2_TEMPLATE


def set_chat_template(tokenizer: Any, choice: Literal["own", "llama2", "training"]) -> None:
    """Give `tokenizer` the template that `choice` names; see `sft.train.SFTArguments`.

    Raises:
        InputError: Llama 2's template is asked for where the tokenizer brings another.
    """
    if choice == "llama2" and tokenizer.chat_template not in (None, LLAMA2_TEMPLATE):
        raise InputError(
            f"chat_template: llama2, but {tokenizer.name_or_path} brings a template; set chat_template: own"
        )
    if choice == "llama2":
        tokenizer.chat_template = LLAMA2_TEMPLATE
    if choice == "training":
        tokenizer.chat_template = _training_template(tokenizer) or tokenizer.chat_template


def _training_template(tokenizer: Any) -> str | None:
    """Return TRL's prefix-stable version of the tokenizer's template, or None where there is none or no need of one."""
    from trl.chat_template_utils import get_training_chat_template

    try:
        return get_training_chat_template(tokenizer)
    except ValueError:  # a template that TRL does not know
        return None
