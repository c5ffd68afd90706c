"""How many parameters, bytes and operations a decoder-only transformer takes, by arithmetic on its configuration.

Nothing is loaded and torch is not needed: the shapes of the layers follow from `config.json`. The planner reads its
numbers here, and the memory plan of PPO the parts that both have in common.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chat_model.errors import InputError

FLOAT32_BYTES = 4
BFLOAT16_BYTES = 2
FOUR_BIT_BYTES = 0.5 + 4 / 64  # NF4 (Dettmers et al. 2023, section 3): half a byte, an fp32 scale a block of 64
LOGIT_COPIES = 3  # of a chunk in fp32 at the peak of its backward pass, as measured on `chat_model.log_probs`

# Logits held at once: on a CPU what its caches hold (32 MiB), elsewhere enough tokens to be worth reading the head for.
_CHUNK_LOGITS = {"cpu": 2**23}
_CHUNK_LOGITS_ELSEWHERE = 2**27

# Layers that PEFT adapts where no list is given: the same pair for all of the architectures below that it has any for.
DEFAULT_LORA_TARGETS = ("q_proj", "v_proj")
_WITH_FOUR_NORMS = ("gemma2", "gemma3_text")
_WITH_HEAD_NORMS = ("qwen3", "gemma3_text")
_KNOWN = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3")


@dataclass(frozen=True)
class ModelShape:
    """The widths that all sizes follow from; counts of numbers, not of bytes."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    intermediate: int
    vocabulary: int
    context: int
    tied: bool = False  # one matrix for the input and the output embeddings
    input_bias: bool = False  # of the query, key and value projections
    output_bias: bool = False  # of the attention's output projection
    mlp_bias: bool = False
    norms_per_layer: int = 2
    head_norms: bool = False  # norms of queries and keys, of a head's width

    @property
    def query_width(self) -> int:
        """Numbers of all heads' queries of one token."""
        return self.heads * self.head_width

    @property
    def key_value_width(self) -> int:
        """Numbers of all heads' keys of one token, and of their values."""
        return self.key_value_heads * self.head_width

    @property
    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the linear layers that every transformer layer has one of."""
        return {
            "q_proj": (self.hidden, self.query_width),
            "k_proj": (self.hidden, self.key_value_width),
            "v_proj": (self.hidden, self.key_value_width),
            "o_proj": (self.query_width, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_weights(self) -> int:
        """Weights of all transformer layers' linear layers, what four bits shrink; biases not counted."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear_layers.values())

    @property
    def embedding(self) -> int:
        """Weights of one embedding matrix."""
        return self.vocabulary * self.hidden

    @property
    def body(self) -> int:
        """Parameters without the output layer: what a language model and a classifier have in common."""
        biases = self.input_bias * (self.query_width + 2 * self.key_value_width) + self.output_bias * self.hidden
        biases += self.mlp_bias * (2 * self.intermediate + self.hidden)
        norms = self.norms_per_layer * self.hidden + self.head_norms * 2 * self.head_width
        return self.embedding + self.linear_weights + self.layers * (biases + norms) + self.hidden

    @property
    def causal_lm(self) -> int:
        """Parameters of the language model, tied embeddings once."""
        return self.body + (0 if self.tied else self.embedding)

    @property
    def classifier(self) -> int:
        """Parameters of a one-label sequence classifier: the body and a scalar head without bias."""
        return self.body + self.hidden

    def divided(self, processes: int) -> "ModelShape":
        """Return the shape of what one process holds where several hold a model together: heads and MLP are divided, as
        `chat_model.tensor_parallel` does, embeddings and norms are not.
        """
        parts = {name: getattr(self, name) // processes for name in ("heads", "key_value_heads", "intermediate")}
        return replace(self, **parts)

    def lora(self, rank: int, targets: Sequence[str] | None = None, saved_modules: Sequence[str] = ()) -> int:
        """Return the parameters that LoRA trains: ``rank * (inputs + outputs)`` a layer (Hu et al. 2021, section 4.1).

        Args:
            targets: names of linear layers, or "all-linear", which leaves the output layer out; None: PEFT's default.
            saved_modules: layers trained whole beside: "score", "embed_tokens" or "lm_head".

        Raises:
            InputError: a name that the model has no layer of.
        """
        names = self._lora_layers(targets)
        whole = {"score": self.hidden, "embed_tokens": self.embedding, "lm_head": self.embedding}
        for name in (*names, *saved_modules):
            if name not in self.linear_layers and name not in whole:
                raise InputError(f"lora_target_modules: no layer '{name}'; expected some of {', '.join(names)}")
        widths = sum(sum(self.linear_layers[name]) for name in set(names))
        return self.layers * rank * widths + sum(whole[name] for name in set(saved_modules))

    def lora_inputs(self, targets: Sequence[str] | None = None) -> int:
        """Return the numbers that the adapted layers of one transformer layer read of one token."""
        return sum(self.linear_layers[name][0] for name in set(self._lora_layers(targets)))

    def _lora_layers(self, targets: Sequence[str] | None) -> tuple[str, ...]:
        names = tuple(targets or DEFAULT_LORA_TARGETS)
        return tuple(self.linear_layers) if "all-linear" in names else names

    def key_value_cache(self, tokens: int, bytes_a_number: int) -> int:
        """Return the bytes of the keys and values of `tokens` tokens in all layers."""
        return key_value_bytes(self.layers, self.key_value_width, tokens, bytes_a_number)

    def forward_operations(self, tokens: int, mean_context: float) -> float:
        """Return the floating-point operations of a forward pass without the output layer.

        Two for each weight of the linear layers, and two each for scores and their sum over the tokens that one attends
        to (the terms of Chowdhery et al. 2022, appendix B, for the forward pass).

        Args:
            tokens: of all rows.
            mean_context: tokens that one attends to on average; half a row where attention is causal.
        """
        attention = 4 * self.layers * self.query_width * mean_context
        return tokens * (2 * self.linear_weights + attention)

    def output_operations(self, tokens: int) -> float:
        """Return the operations of the output layer for `tokens` positions."""
        return 2.0 * tokens * self.embedding


def key_value_bytes(layers: int, width: int, tokens: int, bytes_a_number: int) -> int:
    """Return the bytes of the keys and values of `tokens` tokens, each `width` numbers a layer."""
    return 2 * layers * width * tokens * bytes_a_number


def chunk_size(vocab_size: int, device_type: str) -> int:
    """Return the tokens whose logits are held at once on a device such as "cpu" or "cuda"."""
    return max(1, _CHUNK_LOGITS.get(device_type, _CHUNK_LOGITS_ELSEWHERE) // vocab_size)


def logits_bytes(tokens: int, vocabulary: int) -> int:
    """Return the bytes of a chunk's logits at the peak of its backward pass, in fp32 (see `chat_model.log_probs`)."""
    return LOGIT_COPIES * tokens * vocabulary * FLOAT32_BYTES


def four_bit_bytes(parameters: int, linear_weights: int, bytes_a_number: int) -> int:
    """Return the bytes of a model whose linear layers are in four bits (NF4), all else as it was."""
    return int((parameters - linear_weights) * bytes_a_number + linear_weights * FOUR_BIT_BYTES)


def shape_of(config: Mapping[str, Any], name: str = "model") -> ModelShape:
    """Return the shape of a model from its `config.json`.

    Raises:
        InputError: an architecture that this arithmetic does not know, or a config without its widths.
    """
    kind = config.get("model_type")
    if kind not in _KNOWN:
        raise InputError(f"{name}: sizes of '{kind}' are not known to the planner; known: {', '.join(_KNOWN)}")
    try:
        return _shape(kind, config)
    except KeyError as error:
        raise InputError(f"{name}: its config names no {error.args[0]}; expected a whole config.json") from error


def _shape(kind: str, config: Mapping[str, Any]) -> ModelShape:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    attention_bias = bool(config.get("attention_bias"))
    return ModelShape(
        hidden=hidden,
        layers=config["num_hidden_layers"],
        heads=heads,
        key_value_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or hidden // heads,
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        context=config.get("max_position_embeddings") or 0,
        tied=bool(config.get("tie_word_embeddings", kind.startswith("gemma"))),
        input_bias=kind == "qwen2" or attention_bias,
        output_bias=attention_bias and kind != "qwen2",
        mlp_bias=bool(config.get("mlp_bias")),
        norms_per_layer=4 if kind in _WITH_FOUR_NORMS else 2,
        head_norms=kind in _WITH_HEAD_NORMS,
    )


def read_shape(name_or_path: str | Path, vocabulary: int = 1024) -> ModelShape:
    """Return the shape of a hub id, a folder, or a ``tiny:`` config, whose embeddings hold `vocabulary` tokens.

    Raises:
        InputError: no config can be read there, or see `shape_of`.
    """
    from chat_model.loading import TINY, load_config, parse_tiny

    if str(name_or_path).startswith(TINY):
        return shape_of({"model_type": "llama", "vocab_size": vocabulary, **parse_tiny(str(name_or_path))})
    return shape_of(load_config(name_or_path).get_text_config().to_dict(), str(name_or_path))
