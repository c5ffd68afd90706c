"""Steps 2 to 4 of an iteration, those that run models: responses, what policy, critic and reference say, and scores."""

from collections.abc import Sequence

import torch
from torch import Tensor

from chat_model.conversation import Prompt
from chat_model.generation import sample
from chat_model.log_probs import language_head, token_log_probs
from rlhf.ppo.guards import check_measurements, check_not_all_empty, check_sampler, check_scores
from rlhf.ppo.models.interface import Outputs, Scorers
from rlhf.ppo.rollout import Measurements, Responses, own_responses
from rlhf.ppo.session import Session
from rlhf.ppo.update import Cut, iterate_micro_batches

_SEEDS_PER_DRAW = 2**20  # sampling uses a seed a batch; no two draws of a run may share any
_CHUNK_TOKENS = 512  # whose logits are held at once when the sampler is checked


def respond(session: Session, prompts: Sequence[Prompt], draw: int) -> Responses:
    """Step 2: return this rank's share of the responses to the prompts of a global batch.

    Args:
        draw: a number that tells this draw from the others of the run; it and the seed decide the responses.

    Raises:
        TrainingFault: every response is empty.
    """
    config, accelerator, models = session.config, session.accelerator, session.models
    with session.whole_policy() as policy:
        samples = sample(
            policy,
            models.tokenizer,
            [prompt.prompt for prompt in prompts],
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
            seed=config.seed + draw * _SEEDS_PER_DRAW,
            batch_tokens=config.sample_batch_tokens,
            engine=config.engine,
            progress=False,
            with_log_probs=config.old_log_probs == "sampler",
        )
    check_not_all_empty(sum(not text for text in samples.texts), len(samples), draw)
    rank, ranks = accelerator.process_index, accelerator.num_processes
    return own_responses(prompts, samples, models.tokenizer.pad_token_id, rank, ranks, accelerator.device)


@torch.no_grad()
def measure(session: Session, responses: Responses, iteration: int) -> Measurements:
    """Step 3: run policy, critic and reference over the responses in micro-batches.

    The policy is spared where the sampler's own log-probabilities are taken (`old_log_probs`).

    Raises:
        TrainingFault: a log-probability or a value is not finite.
    """
    config, accelerator, models = session.config, session.accelerator, session.models
    models.trained.eval()
    measured = torch.zeros(4, *responses.token_ids.shape, device=accelerator.device)
    rows = list(range(len(responses.texts)))
    for cut in iterate_micro_batches(accelerator, responses, rows, config.micro_batch_tokens):
        token_ids, attention_mask = cut(responses.token_ids), cut(responses.attention_mask)
        inputs = (token_ids, attention_mask, cut(responses.response_mask), config.temperature)
        outputs = _by_policy_and_critic(models.trained, responses.known, cut, inputs)
        with accelerator.autocast():  # as the prepared module does, or equal models would differ
            reference = models.reference(*inputs)
        for target, part in zip(measured, (*outputs, reference), strict=True):
            target[cut.rows, : cut.length] = part.float()
    measurements = Measurements(*measured)
    check_measurements(iteration, **vars(measurements))
    return measurements


def _by_policy_and_critic(trained, known: Tensor | None, cut: Cut, inputs: tuple) -> Outputs:
    if known is None:
        return trained(*inputs, with_entropy=True)
    log_probs, entropies = (cut(each) for each in known)
    return Outputs(log_probs, entropies, trained(*inputs, part="critic").values)


def score(scorers: Scorers, responses: Responses, iteration: int) -> tuple[Tensor, Tensor]:
    """Step 4: return the raw helpfulness and safety scores (B,), fp32, of reward models that read the text.

    Raises:
        TrainingFault: a score is missing or not finite.
    """
    conversations, scores = responses.conversations, []
    for name, scorer in (("helpfulness", scorers.helpfulness), ("safety", scorers.safety)):
        scores.append(scorer(conversations).to(responses.token_ids.device, torch.float32))
        check_scores(name, scores[-1], responses.texts, iteration)
    return scores[0], scores[1]


def sampler_mismatch(session: Session, responses: Responses, measurements: Measurements, iteration: int) -> float:
    """Return the mean nats a token between log-probs as a sampler takes them and the trainer's, on some rows a rank.

    One of the two has been measured, and the other is taken here. The trainer pads on the right and reads a row in one
    pass; a sampler pads on the left, keeps a cache, and on some hardware rounds otherwise. Both must mean the same
    distribution, or the ratio and the KL are of another policy.

    Raises:
        TrainingFault: it is above `max_sampler_mismatch`.
    """
    accelerator, config = session.accelerator, session.config
    rows = slice(0, config.sampler_check_rows)
    token_ids, mask = responses.token_ids[rows], responses.response_mask[rows]
    if responses.known is None:
        with session.whole_policy() as policy:
            other = sampler_log_probs(policy, token_ids, mask, config.temperature)
    else:
        inputs = (token_ids, responses.attention_mask[rows], mask, config.temperature)
        with torch.no_grad():
            other = session.models.trained(*inputs, part="policy").log_probs[mask]
    sums = torch.stack([(measurements.log_probs[rows][mask] - other).abs().sum(), mask.sum().float()])
    total, tokens = accelerator.reduce(sums).tolist()
    check_sampler(total / tokens, config.max_sampler_mismatch, iteration)
    return total / tokens


@torch.no_grad()
def sampler_log_probs(policy, token_ids: Tensor, response_mask: Tensor, temperature: float) -> Tensor:
    """Return log-probs [tokens] of the response tokens, row after row, computed as a sampler does.

    Prompts are padded on the left and read into a cache, from which the responses go on.

    Args:
        policy: a causal language model of transformers, in evaluation mode.
        token_ids: [batch, time]: prompt, response, padding.
        response_mask: bool [batch, time].
    """
    starts, time = response_mask.int().argmax(dim=1), response_mask.shape[1]
    ends, width = starts + response_mask.sum(dim=1), int(starts.max())
    columns = torch.arange(int((width - starts + ends).max()), device=starts.device) - (width - starts)[:, None]
    present = (columns >= 0) & (columns < ends[:, None])
    sources = columns.clamp(0, time - 1)
    shifted, mask = token_ids.gather(1, sources), response_mask.gather(1, sources) & present
    hidden = _read_with_cache(policy, shifted, present, width)
    log_probs, _ = token_log_probs(hidden, language_head(policy), shifted, mask, temperature, _CHUNK_TOKENS)
    return log_probs[mask]


def _read_with_cache(policy, token_ids: Tensor, present: Tensor, width: int) -> Tensor:
    """Return hidden states [batch, time, hidden]: `width` positions in one pass, the others from the cache."""
    body, positions = policy.get_decoder(), (present.cumsum(dim=1) - 1).clamp(min=0)
    first = body(token_ids[:, :width], present[:, :width].long(), positions[:, :width], use_cache=True)
    rest = body(token_ids[:, width:], present.long(), positions[:, width:], first.past_key_values, use_cache=True)
    return torch.cat([first.last_hidden_state, rest.last_hidden_state], dim=1)
