"""LoRA and QLoRA in a stage that trains with a Hugging Face trainer: what is refused, and what is saved.

A stage leaves a whole model that anything loads, the adapter merged in, and the adapter itself in `adapter/` beside it,
which PPO on a shared base takes. A quantized base is for training alone: the adapter is merged into the base as it was
loaded from, in main memory.
"""

from collections.abc import Callable
from typing import Any

from peft import PeftModel
from transformers.utils import is_bitsandbytes_available

from chat_model.adapters import ADAPTER_FOLDER
from chat_model.errors import InputError
from chat_model.stage import StageRun
from chat_model.training import finish


def check_quantization(model_config: Any) -> None:
    """Raise InputError for a quantized base (`trl.ModelConfig`) without an adapter, or without bitsandbytes."""
    if model_config.load_in_4bit or model_config.load_in_8bit:
        option = "load_in_4bit" if model_config.load_in_4bit else "load_in_8bit"
        if not model_config.use_peft:
            raise InputError(f"{option}: quantized weights cannot be trained; set use_peft: true to train an adapter")
        if not is_bitsandbytes_available():
            raise InputError(f"{option}: needs the package bitsandbytes; install it, or train LoRA without {option}")


def finish_merged(run: StageRun, trainer: Any, load_base: Callable[[], Any]) -> Any:
    """Save as `chat_model.training.finish` does, an adapter in `adapter/` and merged into its base; return the model.

    Of a quantized base the main process alone merges, in main memory, since the accelerator may not hold it whole; then
    nothing is returned.

    Args:
        load_base: loads the base model anew, not quantized; called where the trained one was.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    is_quantized = getattr(model, "is_quantized", False)
    if hasattr(model, "merge_and_unload"):
        if run.is_main:
            model.save_pretrained(run.folder / ADAPTER_FOLDER)
        trainer.accelerator.wait_for_everyone()
        if is_quantized:
            model = PeftModel.from_pretrained(load_base(), run.folder / ADAPTER_FOLDER) if run.is_main else None
        trainer.model = trainer.model_wrapped = model = None if model is None else model.merge_and_unload()
    finish(run, trainer)
    trainer.accelerator.wait_for_everyone()
    return None if is_quantized else model
