"""Sample from a vLLM server, by TRL's client: the newest weights are sent first, and log-probabilities compared after.

    VLLM_SERVER_DEV_MODE=1 vllm serve CHECKPOINT --weight-transfer-config '{"backend": "nccl"}' \\
        --logprobs-mode processed_logprobs --max-logprobs -1

A server without a weight transfer serves a checkpoint that does not change. The server's address is not a setting of a
stage, because results do not depend on it: the environment variable ``ROUNDS_VLLM_URL`` names it. Draws are the
server's own and follow no seed of ours: a seed a request would give all samples of a prompt the same noise.
"""

import functools
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from chat_model.decoding import DecodingSettings
from chat_model.engines import ADDRESS_VARIABLE, DEFAULT_ADDRESS
from chat_model.errors import InputError
from chat_model.log_probs import response_log_probs
from chat_model.merged_weights import merged_shapes, merged_weights
from chat_model.processes import process_state
from chat_model.tensor_parallel import from_leader, replica_of

_CHECKED_ROWS = 8
_MOST_APART = 0.1  # mean nats a token between server and trainer; bf16 kernels differ by about 0.01
_PROMPTS_A_REQUEST = 512


class VllmServer:
    """A server, and what is known of the weights that it holds.

    Args:
        address: such as ``http://localhost:8000``.

    Raises:
        InputError: no vLLM here, or no server there.
    """

    def __init__(self, address: str):
        try:
            from trl.generation.vllm_client import VLLMClient

            self.client = VLLMClient(base_url=address)
        except ImportError as error:
            raise InputError(f'engine: vllm needs "rlhf-rounds[vllm]" ({error})') from error
        except OSError as error:
            raise InputError(f"engine: no vLLM server at {address}; start one, or set {ADDRESS_VARIABLE}") from error
        self.address = address
        self.takes_weights = self._takes_weights()
        self._versions: list[int] | None = None

    def _takes_weights(self) -> bool:
        try:
            return self.client.get_server_info()["weight_transfer_config"] is not None
        except RuntimeError:  # a server without VLLM_SERVER_DEV_MODE tells nothing and takes nothing
            return False

    def hold(self, model: Any, sends: bool = True) -> None:
        """Make the server hold the weights of `model`, active adapters included.

        Args:
            sends: whether this process sends them; the others of its replica only give their parts.

        Raises:
            InputError: the model was trained on since the last call, and the server takes no weights.
        """
        versions = [parameter._version for parameter in model.parameters()]
        if self.takes_weights and sends:
            self._send(model)
        elif self.takes_weights:
            for _ in merged_weights(model):
                pass
        elif self._versions not in (None, versions):
            raise InputError(
                f"engine: the model has changed and the vLLM server at {self.address} takes no weights; "
                """start it with --weight-transfer-config '{"backend": "nccl"}'"""
            )
        self._versions = versions

    def _send(self, model: Any) -> None:
        if self.client.communicator is None:
            self.client.init_communicator(device=model.device)
        metadata = [(name, str(dtype).removeprefix("torch."), shape) for name, dtype, shape in merged_shapes(model)]
        self.client.update_named_params(metadata, merged_weights(model))
        self.client.reset_prefix_cache()


@functools.cache
def connect(address: str) -> VllmServer:
    """Return the server at `address`, the same one for the life of the process."""
    return VllmServer(address)


def decode_by_vllm(
    model: Any, prompt_ids: Sequence[list[int]], settings: DecodingSettings, progress: bool = False
) -> list[list[int]]:
    """Return one response a prompt, its stop token included where one was drawn.

    The main process sends the weights; every process then asks for its own responses, or the first one of each replica
    where a model is divided.

    Args:
        model: the model whose weights the server is to hold.
        prompt_ids: token ids of each prompt of this process; may be none.

    Raises:
        InputError: no server, or one that cannot be given the weights.
        RuntimeError: the server's log-probabilities are not the model's: it holds other weights.
    """
    server = connect(os.environ.get(ADDRESS_VARIABLE, DEFAULT_ADDRESS))
    replica = replica_of(model)
    if replica.number == 0:
        server.hold(model, sends=replica.leads)
    process_state().wait_for_everyone()
    responses: list[list[int]] = []
    starts = range(0, len(prompt_ids), _PROMPTS_A_REQUEST)
    for start in tqdm(starts, desc="vLLM", disable=not progress, leave=False):
        prompts = list(prompt_ids[start : start + _PROMPTS_A_REQUEST])
        found = from_leader(model, server.client.generate(prompts, **_options(settings)) if replica.leads else {})
        if start == 0:
            check_log_probs(model, prompts, found, settings)
        responses += found["completion_ids"]
    return responses


def _options(settings: DecodingSettings) -> dict[str, Any]:
    """Return the request's options: nothing truncates the distribution but what was asked for."""
    return {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_new_tokens,
        "logprobs": 0,  # of the drawn token alone
        "generation_kwargs": {"stop_token_ids": sorted(settings.stop_token_ids)},
    }


@torch.no_grad()
def check_log_probs(
    model: Any, prompts: Sequence[list[int]], found: dict[str, Any], settings: DecodingSettings
) -> None:
    """Compare vLLM's log-probabilities of its first responses with the model's own (trl#5312: stale weights).

    Args:
        found: what TRL returned for `prompts`: `completion_ids`, and `logprobs` of the drawn tokens alone.

    Raises:
        RuntimeError: the two differ by more than rounding does.
    """
    responses = found["completion_ids"][:_CHECKED_ROWS]
    rows = [torch.tensor(prompt + response) for prompt, response in zip(prompts, responses, strict=False)]
    token_ids = pad_sequence(rows, batch_first=True, padding_value=settings.pad_token_id).to(model.device)
    positions = torch.arange(token_ids.shape[1])
    starts, ends = (torch.tensor([len(ids) for ids in lists])[:, None] for lists in (prompts[: len(rows)], rows))
    present, mask = (positions < ends).to(model.device), ((positions >= starts) & (positions < ends)).to(model.device)
    ours, _ = response_log_probs(model, token_ids, present, mask, settings.temperature or 1.0)
    theirs = torch.tensor([token[0] for row in found["logprobs"][: len(rows)] for token in row], device=ours.device)
    apart = (ours[mask] - theirs).abs().mean().item() if len(theirs) else 0.0
    if apart > _MOST_APART:
        raise RuntimeError(
            f"vLLM's log-probabilities are {apart:.2f} nats a token from the model's: vLLM holds other weights "
            "(or its server was started without --logprobs-mode processed_logprobs)"
        )
