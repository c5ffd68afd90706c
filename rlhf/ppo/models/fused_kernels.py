"""Liger's fused kernels in the models of PPO, as transformers' trainer puts them into those of the other stages."""

from transformers import PreTrainedModel
from transformers.integrations.liger import apply_liger_kernel

from chat_model.errors import InputError

# PPO makes logits at response positions alone, in chunks (`chat_model.log_probs`); Liger's loss would not be asked.
_WITHOUT_LOSS = {"cross_entropy": False, "fused_linear_cross_entropy": False}


def fuse(*models: PreTrainedModel) -> None:
    """Replace norms, rotary embeddings and MLPs of each model by Liger's kernels, in place; weights stay as they are.

    Raises:
        InputError: liger-kernel is not installed.
    """
    for model in models:
        try:
            apply_liger_kernel(model, dict(_WITHOUT_LOSS))
        except ImportError as error:
            raise InputError(
                "use_liger_kernel: needs the package liger-kernel; install it, or leave use_liger_kernel out"
            ) from error
