"""The stage that turns a LoRA adapter into a whole model that any tool loads: weights, tokenizer and chat template.

The sum is taken once and in fp32, whatever precision is stored: merging in bf16 rounds away what training added.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from chat_model.errors import InputError
from chat_model.loading import load_causal_lm, load_config, load_scalar_model, load_tokenizer
from chat_model.stage import StageRun


@dataclass
class MergeConfig:
    """Which adapter, and in which precision its merged model is stored."""

    adapter: str = field(metadata={"help": "Folder or hub id of a LoRA adapter: of a chat or of a reward model."})
    output_dir: str = field(metadata={"help": "Folder to write to."})
    dtype: Literal["base", "float32", "bfloat16", "float16"] = field(
        default="base", metadata={"help": "Precision of the stored weights; base: that of the base model."}
    )


def merge(run: StageRun, config: MergeConfig) -> None:
    """Write base plus adapter to the run's folder, with tokenizer and chat template.

    Raises:
        InputError: what `adapter` names is none, is for another task than a chat or reward model's, or its base cannot
            be loaded.
    """
    adapter = _read(config.adapter)
    tokenizer = load_tokenizer(config.adapter)
    model = _load(config.adapter, adapter, tokenizer).merge_and_unload()
    dtype = load_config(adapter.base_model_name_or_path).dtype if config.dtype == "base" else config.dtype
    model.to(getattr(torch, str(dtype or "float32").removeprefix("torch."))).save_pretrained(run.folder)
    tokenizer.save_pretrained(run.folder)
    run.record(base=str(adapter.base_model_name_or_path), parameters=model.num_parameters())


def _read(adapter: str) -> Any:
    from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(adapter)
    except (OSError, ValueError) as error:
        hint = f"; did you mean {adapter}/adapter?" if (Path(adapter) / "adapter").is_dir() else ""
        raise InputError(f"{adapter}: is no LoRA adapter (no adapter_config.json){hint}") from error


def _load(name: str, adapter: Any, tokenizer: Any) -> Any:
    """Return the base model in fp32 with the adapter on top."""
    from peft import PeftModel

    if adapter.task_type == "SEQ_CLS":
        return load_scalar_model(name, tokenizer)
    if adapter.task_type != "CAUSAL_LM":
        raise InputError(f"{name}: an adapter with task_type {adapter.task_type}; expected CAUSAL_LM or SEQ_CLS")
    return PeftModel.from_pretrained(load_causal_lm(adapter.base_model_name_or_path, tokenizer), name)
