"""The engines that can sample, by name; `chat_model.generation` runs them. No torch here: configurations name them."""

from typing import Literal

Engine = Literal["transformers", "continuous_batching"]
ENGINE_HELP = "What samples: transformers, batch by batch; continuous_batching, one queue for all prompts, for GPUs."
