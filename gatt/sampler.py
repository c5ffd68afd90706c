"""A chat model behind the two questions a dialogue asks: what are the next replies, and does a context still fit?"""

from collections.abc import Sequence
from typing import Any, Self

from chat_model.conversation import Message
from chat_model.engines import Engine
from chat_model.errors import InputError
from chat_model.generation import sample
from chat_model.loading import load_chat_model
from chat_model.prefix_cache import PrefixCache
from chat_model.processes import process_state
from chat_model.template import render_prompt

_SEEDS_A_CALL = 1_000_003  # more than there are batches in a call, each of which has a seed of its own


class ModelSampler:
    """Samples `num_samples` replies to each context; call it as `gatt.dialogue.SampleReplies`.

    Replies cut off at `max_new_tokens` are counted and, unless `keep_cut_off`, given back empty: as the last words of a
    training conversation they would teach the model to stop in mid-sentence. With `across_processes` all processes
    sample the same contexts together; without, each samples its own, and the engine "transformers" reads a dialogue on
    from where it was.

    Raises:
        InputError: an engine that needs all processes at once, where several are to sample each their own.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        num_samples: int = 1,
        temperature: float = 1.0,
        max_new_tokens: int = 256,
        batch_tokens: int = 16384,
        seed: int = 0,
        keep_cut_off: bool = True,
        across_processes: bool = True,
        engine: Engine = "transformers",
    ):
        if engine.startswith("vllm") and not across_processes and process_state().num_processes > 1:
            raise InputError(
                f"engine: {engine} is given the weights by all processes together, and here each holds its own "
                "dialogues; expected one process, or engine transformers"
            )
        self.model, self.tokenizer, self.num_samples = model, tokenizer, num_samples
        self.temperature, self.max_new_tokens = temperature, max_new_tokens
        self.batch_tokens, self.seed, self.keep_cut_off = batch_tokens, seed, keep_cut_off
        self.across_processes, self.engine = across_processes, engine
        self.begin()

    def begin(self, num_calls: int = 0) -> None:
        """Count as if `num_calls` calls had been made, of which the seeds hang, and forget all that was read."""
        self.num_calls, self.num_cut_off = num_calls, 0
        reads_on = self.engine == "transformers" and not self.across_processes
        self.prefixes = PrefixCache(self.batch_tokens) if reads_on else None

    @classmethod
    def from_checkpoint(cls, name_or_path: str, dtype: str = "float32", **settings: Any) -> Self:
        """Load the model and its tokenizer onto this process's device. Raises InputError when either is missing."""
        return cls(*load_chat_model(name_or_path, dtype), **settings)

    def __call__(self, contexts: Sequence[Sequence[Message]]) -> list[str]:
        """Return the replies, j of context i at ``i * num_samples + j``. The contexts are all at the same turn."""
        turn = sum(message.role == "user" for message in contexts[0])
        samples = sample(
            self.model,
            self.tokenizer,
            contexts,
            num_samples=self.num_samples,
            temperature=self.temperature,
            max_new_tokens=self.max_new_tokens,
            batch_tokens=self.batch_tokens,
            seed=self.seed + self.num_calls * _SEEDS_A_CALL,
            description=f"turn {turn}",
            across_processes=self.across_processes,
            prefixes=self.prefixes,
            engine=self.engine,
        )
        self.num_calls += 1
        cut_off = [reason == "length" for reason in samples.finish_reasons]
        self.num_cut_off += sum(cut_off)
        dropped = [cut and not self.keep_cut_off for cut in cut_off]
        return ["" if drop else text for drop, text in zip(dropped, samples.texts, strict=True)]

    @property
    def context_bound(self) -> int | None:
        """The tokens that the model's context holds; None where its configuration does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def require_room(self, contexts: Sequence[Sequence[Message]]) -> None:
        """Raise InputError unless one of `contexts`, the first turns of dialogues, leaves room for a reply."""
        if not any(map(self.fits, contexts)):
            shortest = min(len(render_prompt(self.tokenizer, messages)) for messages in contexts)
            name, bound = self.model.config.name_or_path, self.context_bound
            raise InputError(
                f"{name}: its context of {bound} tokens does not hold instruction and first question (at least "
                f"{shortest} tokens) and max_new_tokens={self.max_new_tokens}; shorten them"
            )

    def fits(self, messages: Sequence[Message]) -> bool:
        """Return whether a reply of `max_new_tokens` still has room after `messages` in the model's context."""
        bound = self.context_bound
        return bound is None or len(render_prompt(self.tokenizer, messages)) + self.max_new_tokens <= bound
