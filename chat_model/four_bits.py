"""A base held in four bits by bitsandbytes, guarded where adapters on it would be trained wrongly without a word."""

from typing import Any

_PACKS = "support_avx512bf16_for_cpu"  # of a layer: whether it may be packed; bitsandbytes 0.50


def keep_differentiable(base: Any) -> None:
    """Let no layer of `base` be packed for inference.

    On a CPU, bitsandbytes packs a layer's weights when it is first used in evaluation mode and never unpacks them for
    training; no gradient passes through a packed layer, so the adapters below it would learn from what is left.
    """
    for module in base.modules():
        if hasattr(module, _PACKS):
            setattr(module, _PACKS, False)
