"""Sample responses to prompts, in batches of like length whose rows leave as they end.

Nothing truncates or bends the distribution unless asked to: the model's own generation defaults (top-k, repetition
penalties, forced tokens) play no part, because responses drawn from another distribution than the one that is scored
make the KL of section 3.2.3 negative.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from chat_model.continuous import decode_continuously
from chat_model.conversation import Message
from chat_model.decoding import DecodingSettings, decode, decode_with_log_probs
from chat_model.engines import FOR_DIVIDED_MODELS, TENSOR_PARALLEL, Engine
from chat_model.errors import InputError
from chat_model.prefix_cache import PrefixCache
from chat_model.processes import process_state
from chat_model.template import render_prompt
from chat_model.tensor_parallel import ALONE, is_divided, replica_of
from chat_model.vllm import decode_by_vllm
from chat_model.vllm_colocated import decode_by_colocated_vllm

_SMALL = 1 / 8  # of a token budget

FinishReason = Literal["stop", "length"]
# Of each row its place among all of a request, its response, and what the sampler knew of it if that was asked for.
Drawn = list[tuple[int, list[int], torch.Tensor | None]]


@dataclass(frozen=True)
class Samples:
    """Sampled responses, sample j of prompt i at index ``i * num_samples + j``; lists of that length N.

    `response_ids` hold the stop token where one was drawn; `texts` hold neither it nor any other special token.
    """

    prompt_ids: list[list[int]]
    response_ids: list[list[int]]
    finish_reasons: list[FinishReason]
    texts: list[str]
    known: list[torch.Tensor] | None = None  # of each response [2, T]: log-probs and entropies, nats, if asked for

    def __len__(self) -> int:
        return len(self.texts)

    def padded(self, pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``token_ids [N, T]``, prompt then response then padding, and ``response_mask [N, T]`` (bool)."""
        rows = [prompt + response for prompt, response in zip(self.prompt_ids, self.response_ids, strict=True)]
        token_ids = torch.full((len(rows), max(map(len, rows), default=0)), pad_token_id)
        response_mask = torch.zeros_like(token_ids, dtype=torch.bool)
        for index, (row, prompt) in enumerate(zip(rows, self.prompt_ids, strict=True)):
            token_ids[index, : len(row)] = torch.tensor(row)
            response_mask[index, len(prompt) : len(row)] = True
        return token_ids, response_mask


@dataclass(frozen=True)
class Request:
    """What an engine is asked for: one response to each of `prompt_ids`, of which it draws the share of `rank`."""

    prompt_ids: list[list[int]]
    settings: DecodingSettings
    seed: int
    batch_tokens: int
    bar: dict[str, Any]  # what tqdm is told: description and whether it shows
    rank: int
    ranks: int
    prefixes: PrefixCache | None  # of the first engine alone
    with_log_probs: bool  # of the first engine alone


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[Message]],
    *,
    num_samples: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    batch_tokens: int = 32768,
    engine: Engine = "transformers",
    progress: bool = True,
    description: str = "sampling",
    across_processes: bool = True,
    prefixes: PrefixCache | None = None,
    with_log_probs: bool = False,
) -> Samples:
    """Draw `num_samples` responses to each prompt; the same seed gives the same responses on any number of processes.

    Args:
        model: a causal language model (wrapped by DDP or not); it is left in the mode it was in.
        prompts: conversations that end with a user message.
        temperature: 0 takes the likeliest token instead of drawing.
        batch_tokens: bound of rows × (prompt + `max_new_tokens`) in one batch; prompts of like length share one.
        engine: what decodes. "continuous_batching" is for GPUs; it chooses its batches itself by the memory there is,
            so another number of processes, or another device, draws other responses. "vllm" asks a server
            (`chat_model.vllm`), "vllm_colocated" one in this process; their draws follow no seed of ours.
        across_processes: share the batches among the processes, all of which call this with the same prompts; False
            where each has prompts of its own.
        prefixes: spares the reading of prompts that begin with one it holds; only for prompts of a process's own.
        with_log_probs: fill in `Samples.known`; for the engine "transformers" and a temperature above 0.

    Raises:
        InputError: a prompt that leaves no room for `max_new_tokens` in the model's context (names its number), or an
            engine that does not exist, cannot run the model or gives no log-probabilities that were asked for.
    """
    model = getattr(model, "module", model)
    prompt_ids = [render_prompt(tokenizer, prompt) for prompt in prompts]
    _check_context(model, prompt_ids, max_new_tokens)
    _check_engine(engine, model, with_log_probs)
    rows = [ids for ids in prompt_ids for _ in range(num_samples)]
    stops = frozenset(stop_token_ids(model, tokenizer))
    settings = DecodingSettings(max_new_tokens, stops, tokenizer.pad_token_id, temperature, top_p)
    bar = {"desc": description, "disable": not (progress and process_state().is_main_process)}
    replica = replica_of(model) if across_processes else ALONE
    share = (replica.number, replica.count)
    request = Request(rows, settings, seed, batch_tokens, bar, *share, prefixes, with_log_probs)
    with _sampling_mode(model):
        drawn = _ENGINES[engine](model, request)
    if replica.count > 1:
        drawn = gather_object(drawn if replica.leads else [])
    return _collect(tokenizer, rows, drawn, stops)


def _draw_in_batches(model: Any, request: Request) -> Drawn:
    """Batches are the same on any number of processes, and each has a seed of its own, so the responses are too."""
    drawn = Drawn()
    lengths = [len(ids) for ids in request.prompt_ids]
    batches = batches_by_length(lengths, request.batch_tokens, extra=request.settings.max_new_tokens)
    for number in tqdm(range(request.rank, len(batches), request.ranks), leave=False, **request.bar):
        ids = [request.prompt_ids[index] for index in batches[number]]
        torch.manual_seed(request.seed + number)
        inputs = (model, ids, request.settings, request.prefixes)
        if request.with_log_probs:
            drawn += zip(batches[number], *decode_with_log_probs(*inputs), strict=True)
        else:
            drawn += _placed(batches[number], decode(*inputs))
    return drawn


def _draw_continuously(model: Any, request: Request) -> Drawn:
    """All rows of this process wait in one queue, so that the place of one that ends is never empty."""
    places, ids = _own_share(request)
    seed, shows = request.seed + request.rank, not request.bar["disable"]
    responses = decode_continuously(model, ids, request.settings, seed, request.batch_tokens, progress=shows)
    return _placed(places, responses)


def _draw_from_server(model: Any, request: Request) -> Drawn:
    """A vLLM server, which is sent the weights, answers for every process's share."""
    places, ids = _own_share(request)
    return _placed(places, decode_by_vllm(model, ids, request.settings, not request.bar["disable"]))


def _draw_beside_training(model: Any, request: Request) -> Drawn:
    """A vLLM engine in each process, which is given the weights, answers for the process's share."""
    places, ids = _own_share(request)
    return _placed(places, decode_by_colocated_vllm(model, ids, request.settings))


def _own_share(request: Request) -> tuple[Sequence[int], list[list[int]]]:
    """Return the places of this process's prompts, every n-th of all, and their token ids."""
    places = range(request.rank, len(request.prompt_ids), request.ranks)
    return places, [request.prompt_ids[place] for place in places]


def _placed(places: Sequence[int], responses: list[list[int]]) -> Drawn:
    return [(place, response, None) for place, response in zip(places, responses, strict=True)]


# What an `engine` is: a function from a model and a request to this process's responses, each with its place.
_ENGINES: dict[Engine, Callable[[Any, Request], Drawn]] = {
    "transformers": _draw_in_batches,
    "continuous_batching": _draw_continuously,
    "vllm": _draw_from_server,
    "vllm_colocated": _draw_beside_training,
}


def batches_by_length(lengths: Sequence[int], batch_tokens: int, extra: int = 0, alike: float = 0.0) -> list[list[int]]:
    """Group indices by length, longest first, so that rows × (longest + `extra`) stays within `batch_tokens`.

    A single row longer than the bound is a batch of its own.

    Args:
        alike: a row shorter than this share of a batch's longest begins a new one, rather than being padded, unless the
            batch fills no more than an eighth of the bound: every pass has a cost of its own.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        longest, rows = (lengths[batches[-1][0]], len(batches[-1])) if batches else (0, 0)
        is_worth_its_padding = lengths[index] >= alike * longest or rows * longest < _SMALL * batch_tokens
        if batches and is_worth_its_padding and (rows + 1) * (longest + extra) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _check_engine(engine: Engine, model: Any, with_log_probs: bool) -> None:
    """Raise InputError unless `engine` exists, takes `model`, and gives log-probabilities where they are asked for."""
    if engine not in _ENGINES:
        raise InputError(f"engine: found {engine!r}; expected one of {', '.join(_ENGINES)}")
    if engine not in FOR_DIVIDED_MODELS and is_divided(model):
        raise InputError(f"{TENSOR_PARALLEL}: engine: {engine} takes no model that is divided; leave the variable out")
    if with_log_probs and engine != "transformers":
        raise InputError(f"engine: {engine} gives no log-probabilities of ours; expected transformers")


def stop_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return every token that ends a response: the tokenizer's and those of the model's generation config."""
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    return sorted({stop for stop in (*configured, tokenizer.eos_token_id) if stop is not None})


def _check_context(model: Any, prompt_ids: list[list[int]], max_new_tokens: int) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for number, ids in enumerate(prompt_ids):
        if context and len(ids) + max_new_tokens > context:
            raise InputError(
                f"prompt {number}: has {len(ids)} tokens; with max_new_tokens={max_new_tokens} that exceeds "
                f"the model's context of {context}"
            )


@contextlib.contextmanager
def _sampling_mode(model: Any) -> Iterator[None]:
    """Dropout off; the caller's random state and the model's mode are kept."""
    was_training = model.training
    model.eval()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        model.train(was_training)


def _collect(tokenizer: Any, prompt_ids: list[list[int]], drawn: Drawn, stops: frozenset[int]) -> Samples:
    drawn = sorted(drawn, key=lambda row: row[0])
    responses, known = [ids for _, ids, _ in drawn], [of_row for *_, of_row in drawn if of_row is not None]
    reasons: list[FinishReason] = ["stop" if ids and ids[-1] in stops else "length" for ids in responses]
    texts = [text.strip() for text in tokenizer.batch_decode(responses, skip_special_tokens=True)]
    return Samples(prompt_ids, responses, reasons, texts, known or None)
