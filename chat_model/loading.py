"""Load a tokenizer, a causal language model or a scalar model from a hub id, a local folder, or a ``tiny:`` config.

``tiny:hidden_size=128,num_hidden_layers=4`` is a random Llama (grouped-query attention, RoPE, RMSNorm, SwiGLU) for
laptops and tests; everything else goes through the Auto classes. A tokenizer without a pad token of its own gets one:
with pad = eos a sequence classifier pools at the wrong token and a model learns never to stop. A scalar model may also
be a LoRA adapter that is not merged: a folder whose `adapter_config.json` names its base model.
"""

import functools
import json
import logging
import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from chat_model.errors import InputError, suggestion
from chat_model.four_bits import keep_differentiable

TINY = "tiny:"
_TINY_DEFAULTS = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
_ADAPTER_FILE = "adapter_config.json"
_REPORTERS = ("transformers.modeling_utils", "transformers.distributed.tensor_parallel")


def find_file(name_or_path: str | Path, file: str) -> Path | None:
    """Return where `file` of a checkpoint stands (a hub id's after a download), or None if the checkpoint has none."""
    if Path(name_or_path).is_dir():
        path = Path(name_or_path) / file
        return path if path.is_file() else None
    from transformers.utils import cached_file

    try:
        found = cached_file(str(name_or_path), file, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):
        return None
    return Path(found) if found else None


def load_tokenizer(name_or_path: str | Path, trust_remote_code: bool = False) -> Any:
    """Return the tokenizer of a hub id or folder, with a pad token distinct from its end-of-sequence token.

    An adapter that brings no tokenizer has its base model's.

    Raises:
        InputError: a folder that holds no tokenizer, or a name that cannot be loaded.
    """
    from transformers import AutoTokenizer

    folder = Path(name_or_path)
    if folder.is_dir() and not any((folder / name).exists() for name in _TOKENIZER_FILES):
        if base := _base_of_adapter(name_or_path):
            return load_tokenizer(base, trust_remote_code)
        raise InputError(
            f"{folder}: holds no tokenizer; expected one of {', '.join(_TOKENIZER_FILES)} beside the model"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(name_or_path), trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise _cannot_load("tokenizer", name_or_path, error) from error
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
        warnings.warn(f"{name_or_path}: the tokenizer has no pad token of its own; added <pad>", stacklevel=2)
    return tokenizer


def load_causal_lm(name_or_path: str | Path, tokenizer: Any = None, **options: Any) -> Any:
    """Return a causal language model in evaluation mode.

    Args:
        name_or_path: hub id, folder, or ``tiny:`` config (which needs `tokenizer` for its vocabulary).
        tokenizer: when given, the embeddings are grown to hold all of its tokens and the pad token is set.
        options: `dtype` (default "float32"), `attn_implementation`, `trust_remote_code`; what from_pretrained takes.

    Raises:
        InputError: unknown key in a ``tiny:`` config, or a model that cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    if str(name_or_path).startswith(TINY):
        return _tiny_causal_lm(str(name_or_path), tokenizer, options)
    return _fit_to_tokenizer(_from_pretrained(AutoModelForCausalLM, name_or_path, options), tokenizer).eval()


def load_chat_model(name_or_path: str | Path, dtype: str = "float32") -> tuple[Any, Any]:
    """Return a causal language model on this process's device, and its tokenizer, as `generation.sample` takes them.

    Every process calls: where ``ROUNDS_TENSOR_PARALLEL`` says so, several hold the model together.

    Raises:
        InputError: either cannot be loaded.
    """
    from chat_model.tensor_parallel import load_on_device

    tokenizer = load_tokenizer(name_or_path)
    return load_on_device(functools.partial(load_causal_lm, name_or_path, tokenizer, dtype=dtype)), tokenizer


def load_scalar_model(
    name_or_path: str | Path, tokenizer: Any = None, *, trained_head: bool = False, **options: Any
) -> Any:
    """Return a one-label sequence classifier in evaluation mode; from a chat checkpoint, the LM head is replaced by a
    new scalar head (section 3.2.2), small and random by torch's generator.

    Args:
        name_or_path: hub id or folder of a whole model, or of a PEFT adapter, which is put on its base and not merged.
        tokenizer: when given, the embeddings are grown to hold all of its tokens and the pad token is set.
        trained_head: refuse a checkpoint that brings no scalar head, instead of giving it a random one.
        options: as for `load_causal_lm`.

    Raises:
        InputError: a checkpoint whose head has more than one label or is missing where one is asked for, an adapter of
            another task, or what cannot be loaded.
    """
    if base := _base_of_adapter(name_or_path):
        return _load_adapter(str(name_or_path), base, tokenizer, options)
    from transformers import AutoModelForSequenceClassification

    config = load_config(name_or_path, options.get("trust_remote_code", False))
    is_classifier = any("SequenceClassification" in name for name in config.architectures or [])
    if is_classifier and config.num_labels != 1:
        raise InputError(f"{name_or_path}: its head has {config.num_labels} labels; expected a reward model with one")
    options = {**options, "num_labels": 1, "output_loading_info": True}
    model, report = _from_pretrained(AutoModelForSequenceClassification, name_or_path, options)
    if trained_head and report["missing_keys"]:
        raise InputError(
            f"{name_or_path}: no trained reward model, its weights lack {', '.join(sorted(report['missing_keys']))}; "
            "expected a one-label sequence classifier"
        )
    return _fit_to_tokenizer(model, tokenizer).eval()


def load_config(name_or_path: str | Path, trust_remote_code: bool = False) -> Any:
    """Return the configuration of a model, without its weights.

    Raises:
        InputError: there is none, or it is a LoRA adapter's.
    """
    from transformers import AutoConfig

    folder = Path(name_or_path)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise InputError(f"{folder}: is a LoRA adapter; expected a whole model, with the adapter merged in or its base")
    try:
        return AutoConfig.from_pretrained(str(name_or_path), trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise _cannot_load("model", name_or_path, error) from error


def _base_of_adapter(name_or_path: str | Path) -> str | None:
    """Return the base model that an adapter names, or None for what is no adapter."""
    file = find_file(name_or_path, _ADAPTER_FILE)
    if file is None or (file.parent / "config.json").exists():
        return None
    base = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise InputError(f"{file}: field 'base_model_name_or_path' is missing; expected the model the adapter is for")
    return base


def _load_adapter(adapter: str, base: str, tokenizer: Any, options: dict[str, Any]) -> Any:
    """Return the base model with the adapter on top, unmerged, in the base model's precision."""
    from peft import PeftConfig, PeftModel

    task_type = PeftConfig.from_pretrained(adapter).task_type
    if task_type != "SEQ_CLS":
        raise InputError(f"{adapter}: an adapter with task_type {task_type} holds no score head; expected SEQ_CLS")
    try:
        # The tokenizer, because an adapter trained with a new pad token has a base whose embeddings were grown.
        model = load_scalar_model(base, tokenizer or load_tokenizer(adapter), **options)
    except InputError as error:
        raise InputError(f"{adapter}: its {_ADAPTER_FILE} names a base model that cannot be loaded: {error}") from error
    return PeftModel.from_pretrained(model, adapter).to(model.dtype).eval()


def parse_tiny(spec: str) -> dict[str, int]:
    """Return the settings of a ``tiny:key=value,…`` config over the defaults. Raises InputError for an unknown key."""
    settings = dict(_TINY_DEFAULTS)
    for item in filter(None, spec.removeprefix(TINY).split(",")):
        key, _, value = item.partition("=")
        if key not in settings:
            raise InputError(f"{spec}: unknown key '{key}'{suggestion(key, settings)}; known: {', '.join(settings)}")
        if not value.isdigit():
            raise InputError(f"{spec}: field '{key}': found {value!r}; expected a whole number")
        settings[key] = int(value)
    return settings


def _tiny_causal_lm(spec: str, tokenizer: Any, options: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM, LlamaConfig

    if tokenizer is None:
        raise InputError(f"{spec}: a tiny model needs a tokenizer for its vocabulary; name one")
    config = LlamaConfig(
        **parse_tiny(spec),
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    kept = {key: value for key, value in options.items() if key in ("dtype", "attn_implementation") and value}
    return AutoModelForCausalLM.from_config(config, **{"dtype": "float32", **kept}).eval()


def _from_pretrained(auto_class: Any, name_or_path: str | Path, options: dict[str, Any]) -> Any:
    """Load without the reports of keys that come and go when a language model becomes a scalar model, and of layers
    that a plan for tensor parallelism, which nobody asked for, does not cover.
    """
    options = {"dtype": "float32", **{key: value for key, value in options.items() if value is not None}}
    levels = {reporter: reporter.level for reporter in map(logging.getLogger, _REPORTERS)}
    for reporter in levels:
        reporter.setLevel(logging.ERROR)
    try:
        loaded = auto_class.from_pretrained(str(name_or_path), **options)
        if "quantization_config" in options:
            keep_differentiable(loaded[0] if isinstance(loaded, tuple) else loaded)
        return loaded
    except (OSError, ValueError) as error:
        raise _cannot_load("model", name_or_path, error) from error
    except SafetensorError as error:
        raise InputError(
            f"{_damaged(name_or_path)}: cannot be read ({error}); make it anew or copy it again"
        ) from error
    finally:
        for reporter, level in levels.items():
            reporter.setLevel(level)


def _damaged(name_or_path: str | Path) -> str:
    """Return the first file of weights in a folder that cannot be opened; the name itself where it is no folder."""
    for file in sorted(Path(name_or_path).glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError:
            return str(file)
    return str(name_or_path)


def _cannot_load(kind: str, name_or_path: str | Path, error: Exception) -> InputError:
    return InputError(f"{name_or_path}: no {kind} can be loaded from there ({str(error).splitlines()[0]})")


def _fit_to_tokenizer(model: Any, tokenizer: Any) -> Any:
    if tokenizer is None:
        return model
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=model.device.type != "meta")
        warnings.warn(
            f"embeddings grown from {rows} to {len(tokenizer)} rows to hold the tokenizer's tokens", stacklevel=3
        )
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model
