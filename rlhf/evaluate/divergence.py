"""How far a checkpoint has moved from another: the KL divergence, estimated on its own samples (section 3.2.3)."""

from collections.abc import Sequence
from typing import Any

import torch

from chat_model.generation import Samples, batches_by_length
from chat_model.log_probs import response_log_probs


@torch.no_grad()
def log_ratios(policy: Any, reference: Any, samples: Samples, temperature: float, batch_tokens: int) -> list[float]:
    """Return ``log p_policy(response) - log p_reference(response)`` of each sample, in nats [N].

    Of samples that `policy` drew at `temperature`, the mean is an unbiased estimate of the KL divergence of its
    responses from the reference's. Both are causal language models with one vocabulary, on one device.

    Args:
        batch_tokens: bound of rows x tokens in a forward pass.
    """
    lengths = [len(prompt) + len(ids) for prompt, ids in zip(samples.prompt_ids, samples.response_ids, strict=True)]
    ratios = [0.0] * len(samples)
    for batch in batches_by_length(lengths, batch_tokens):
        part = _take(samples, batch)
        difference = _log_probs(policy, part, temperature) - _log_probs(reference, part, temperature)
        for index, ratio in zip(batch, difference.tolist(), strict=True):
            ratios[index] = ratio
    return ratios


def _take(samples: Samples, indices: Sequence[int]) -> Samples:
    parts = (samples.prompt_ids, samples.response_ids, samples.finish_reasons, samples.texts)
    return Samples(*([values[index] for index in indices] for values in parts))  # type: ignore[arg-type]


def _log_probs(model: Any, samples: Samples, temperature: float) -> torch.Tensor:
    """Return the log-probability of each whole response [rows], in fp32."""
    token_ids, response_mask = samples.padded(pad_token_id=0)
    lengths = torch.tensor([len(p) + len(r) for p, r in zip(samples.prompt_ids, samples.response_ids, strict=True)])
    attention_mask = torch.arange(token_ids.shape[1]) < lengths[:, None]
    token_ids, attention_mask, response_mask = (
        each.to(model.device) for each in (token_ids, attention_mask, response_mask)
    )
    return response_log_probs(model, token_ids, attention_mask, response_mask, temperature)[0].sum(-1).cpu()
