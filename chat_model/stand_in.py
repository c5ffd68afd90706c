"""Small random models that stand in for checkpoints which do not exist yet, or are too large to load in seconds.

A stand-in has the architecture, the tokenizer and the attention of the model that its line starts from, with two narrow
layers. What such a model gets wrong (log-probabilities that depend on padding, a head that is not saved) the real one
would get wrong, too.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chat_model.errors import InputError
from chat_model.loading import TINY, load_causal_lm, load_config, load_scalar_model, load_tokenizer

LARGEST_LOADED = 2**28  # bytes of a checkpoint that is loaded itself; a fp32 model of 64 million parameters
_WIDTHS = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
_HEAD_WIDTH = 16


class StandIns:
    """Checkpoints and tokenizers by name, each found or made once; see `chat_model.check_up.ModelSource`.

    Args:
        folder: where stand-ins are written.
        line_of: the models that one goes back to, itself first: what a step starts from, and that one's start in turn.
        can_read: whether a hub id or folder can be read now.
    """

    def __init__(self, folder: Path, line_of: Callable[[str], list[str]], can_read: Callable[[str], bool]):
        self.folder, self.line_of, self.can_read = folder, line_of, can_read
        self._tokenizers: dict[str, Any] = {}
        self._made: dict[tuple[str, bool], str] = {}

    def provide(self, name: str, tokenizer: Any) -> None:
        """Let `tokenizer` be that of a checkpoint that does not exist yet."""
        if not self.is_readable(name):
            self._tokenizers[name] = tokenizer

    def is_readable(self, name: str) -> bool:
        """Return whether a model or tokenizer stands under this name."""
        return not name.startswith(TINY) and self.can_read(name)

    def tokenizer(self, name: str) -> Any:
        """Return the tokenizer of a checkpoint, or of the nearest one in its line that has one; None if none has."""
        for each in self.line_of(name):
            if each not in self._tokenizers and self.is_readable(each):
                self._tokenizers[each] = load_tokenizer(each)
            if each in self._tokenizers:
                return self._tokenizers[each]
        return None

    def checkpoint(self, name: str, is_scalar: bool = False) -> str | None:
        """Return `name` where it is small, else a stand-in of its architecture, or None where none is known."""
        if (Path(name) / "config.json").is_file() and _bytes_in(Path(name)) <= LARGEST_LOADED:
            return name
        tokenizer = self.tokenizer(name)
        origin = next((each for each in self.line_of(name) if each.startswith(TINY) or self.is_readable(each)), None)
        if origin is None or tokenizer is None:
            return None
        if (name, is_scalar) not in self._made:
            self._made[name, is_scalar] = self._make(origin, tokenizer, is_scalar)
        return self._made[name, is_scalar]

    def _make(self, origin: str, tokenizer: Any, is_scalar: bool) -> str:
        folder = self.folder / f"stand_in_{len(self._made)}"
        model = make_small(origin, tokenizer)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if is_scalar:
            load_scalar_model(folder, tokenizer).save_pretrained(folder)
        return str(folder)


def make_small(name: str, tokenizer: Any) -> Any:
    """Return a random causal language model of a model's architecture, with two narrow layers.

    Raises:
        InputError: the architecture cannot be made that small.
    """
    from transformers import AutoModelForCausalLM

    if name.startswith(TINY):
        return load_causal_lm(name, tokenizer)
    config = narrow(load_config(name), len(tokenizer))
    config.pad_token_id, config.bos_token_id = tokenizer.pad_token_id, tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    try:
        return AutoModelForCausalLM.from_config(config, dtype="float32").eval()
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name}: no small model of its architecture can be made ({error})") from error


def narrow(config: Any, vocabulary: int) -> Any:
    """Return the text configuration of a model with two layers of 64 numbers and a given vocabulary."""
    config = type(text := config.get_text_config())(**text.to_dict())
    grouped = getattr(config, "num_key_value_heads", None)
    widths = {**_WIDTHS, "vocab_size": vocabulary}
    if grouped is not None:
        widths["num_key_value_heads"] = 2 if grouped < text.num_attention_heads else _WIDTHS["num_attention_heads"]
    if getattr(config, "head_dim", None) is not None:
        widths["head_dim"] = _HEAD_WIDTH
    if getattr(config, "layer_types", None):
        widths["layer_types"] = config.layer_types[: _WIDTHS["num_hidden_layers"]]
    for field, value in widths.items():
        if hasattr(config, field):
            setattr(config, field, value)
    config.quantization_config = None
    return config


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def context_of(name: str) -> float:
    """Return the tokens that a checkpoint can attend to, as its config says; infinite where it says nothing."""
    return getattr(load_config(name).get_text_config(), "max_position_embeddings", None) or math.inf


def num_embeddings(name: str) -> int:
    """Return the rows of a checkpoint's embeddings, as its config says. Raises InputError."""
    return load_config(name).get_text_config().vocab_size
