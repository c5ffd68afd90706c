"""What a forward pass keeps for the backward pass, layer by layer, and what is held at the worst moment between them.

Counted on the Llama code of transformers 5.23 with an attention that never makes the scores of all pairs (sdpa, flash);
a test compares the counts with what autograd saves. Numbers a token and layer, with h hidden, q query, k key-value,
i intermediate width and a heads:

    fp32 weights            6 h + 2 q + 2 k + 4 i + a + 2                                    in fp32
    bf16 autocast over them 4 h + a + 2 in fp32;  5 h + 2 q + 2 k + 4 i                      in bf16
    bf16 weights            2 h + a + 2 in fp32;  4 h + 2 q + 2 k + 4 i                      in bf16

The fp32 terms of h are the two norms' inputs and outputs. Norms of queries and keys (Qwen3, Gemma 3) keep two more
numbers for each of theirs. Where rows are padded to s tokens, keys and values are widened to q for the masked kernel,
and each layer keeps its own copy of the mask, s more numbers a token.

Adapters are held in fp32, so a bf16 base with LoRA keeps what fp32 weights keep, under autocast or without. Their
dropout keeps a mask of a byte and a copy of every adapted layer's input, as CUDA does it (not measured).
"""

from typing import Literal

from chat_model.model_size import BFLOAT16_BYTES, FLOAT32_BYTES, ModelShape

ACTIVATIONS, LAYER_AT_WORK = "activations", "layer at work"
Precision = Literal["float32", "autocast", "bfloat16"]


def saved_by_a_layer(shape: ModelShape, precision: Precision, padded: int = 0) -> int:
    """Return the bytes that one layer keeps of one token for the backward pass.

    Args:
        padded: tokens that all rows are padded to; 0 where none is padded.
    """
    key_value = shape.query_width if padded else shape.key_value_width
    wide = 2 * shape.query_width + 2 * key_value + 4 * shape.intermediate + padded
    small = shape.heads + shape.norms_per_layer
    norms = shape.norms_per_layer * shape.hidden
    head_norms = shape.head_norms * (shape.query_width + shape.key_value_width)
    head_scales = shape.head_norms * (shape.heads + shape.key_value_heads)
    match precision:
        case "float32":
            numbers = 2 * norms + 2 * shape.hidden + wide + small + 2 * head_norms + head_scales
            return FLOAT32_BYTES * numbers
        case "autocast":
            in_fp32 = 2 * norms + small + head_norms + head_scales
            return FLOAT32_BYTES * in_fp32 + BFLOAT16_BYTES * (5 * shape.hidden + wide + head_norms)
        case "bfloat16":
            in_fp32 = norms + small + head_norms + head_scales
            return FLOAT32_BYTES * in_fp32 + BFLOAT16_BYTES * (norms + 2 * shape.hidden + wide + head_norms)


def activation_parts(
    shape: ModelShape,
    tokens: int,
    precision: Precision,
    checkpointing: bool,
    padded: int = 0,
    dropped_inputs: int = 0,
) -> dict[str, int]:
    """Return the bytes of a micro-batch's activations: those kept, and those of the layer at work going back.

    With gradient checkpointing (Chen et al. 2016) the input of every layer is kept, and the layer at work is computed
    anew; otherwise all is kept, and at work are the gradients between two layers alone.

    Args:
        tokens: of the micro-batch, padding included.
        checkpointing: whether layers are computed again in the backward pass.
        padded: tokens that all rows are padded to; 0 where none is padded.
        dropped_inputs: numbers a token and layer that LoRA's dropout reads; see `ModelShape.lora_inputs`.
    """
    copy = FLOAT32_BYTES if precision == "float32" else BFLOAT16_BYTES
    layer = saved_by_a_layer(shape, precision, padded) + dropped_inputs * (1 + copy)
    width = FLOAT32_BYTES if precision != "bfloat16" else BFLOAT16_BYTES
    gradients = 2 * shape.intermediate * copy
    gradients += 3 * shape.hidden * width
    if not checkpointing:
        return {ACTIVATIONS: tokens * shape.layers * layer, LAYER_AT_WORK: tokens * gradients}
    kept = shape.layers * shape.hidden * width
    return {ACTIVATIONS: tokens * kept, LAYER_AT_WORK: tokens * (layer + gradients)}
