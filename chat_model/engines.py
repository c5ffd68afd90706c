"""The engines that can sample, by name; `chat_model.generation` runs them. Configurations name them: no torch here."""

from typing import Literal

TENSOR_PARALLEL = "ROUNDS_TENSOR_PARALLEL"  # processes that hold a model together, see `chat_model.tensor_parallel`
ADDRESS_VARIABLE, DEFAULT_ADDRESS = "ROUNDS_VLLM_URL", "http://localhost:8000"  # of a vLLM server

Engine = Literal["transformers", "continuous_batching", "vllm", "vllm_colocated"]
FOR_DIVIDED_MODELS: tuple[Engine, ...] = ("transformers", "vllm")  # see `chat_model.tensor_parallel`
ENGINE_HELP = (
    "What samples: transformers, batch by batch; continuous_batching, one queue for all prompts, for GPUs; vllm, a "
    "server whose address ROUNDS_VLLM_URL names; vllm_colocated, vLLM on the GPUs that train, asleep meanwhile, with "
    "the share ROUNDS_VLLM_MEMORY of their memory."
)
