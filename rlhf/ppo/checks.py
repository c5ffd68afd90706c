"""What can be said of a PPO run before it starts (`rounds doctor`): its settings, and the premises of its algorithm.

The premises are tried on the checkpoints themselves where these are small, else on small random models of the same
architecture, through the code that the run itself uses: the ratio before the first step is 1, and a sampler's
log-probabilities are the trainer's. Models are tried whole, also for `layout: shared_base`.
"""

from collections.abc import Sequence
from typing import Any

import torch

from chat_model.check_up import CheckUp
from chat_model.conversation import Prompt
from chat_model.engine_checks import check_engine
from chat_model.errors import InputError
from chat_model.generation import sample
from chat_model.template import render_prompt
from chat_model.template_checks import PREFIX_STABLE
from rlhf.ppo.collection import sampler_log_probs
from rlhf.ppo.config import PPOConfig, check_config
from rlhf.ppo.guards import (
    TrainingFault,
    check_first_ratio,
    check_log_probs,
    check_no_dropout,
    check_sampler,
)
from rlhf.ppo.losses import policy_ratio
from rlhf.ppo.models.full import PolicyAndCritic, load_policy_and_critic
from rlhf.ppo.rollout import Responses, own_responses
from rlhf.ppo.sharding import Sharding, check_sharding
from rlhf.prompt_checks import PAD_EMBEDDING, check_prompts, read_some
from rlhf.reward_checks import check_reward_models

_ROWS = 4  # prompts of different lengths that are answered
_NEW_TOKENS = 12
_ON_MODELS = ("ratio is 1", "sampler against trainer", "log-probabilities")


def check(check_up: CheckUp, config: PPOConfig) -> None:
    """Check settings, prompts, both reward models and the premises of PPO."""
    with check_up.check(
        "settings", "the stage would refuse them when its turn comes", "change the field that is named"
    ):
        check_config(config, check_up.num_processes)
    with check_up.check(
        "launch config", "PPO would refuse it when its turn comes", "change what is named, in either of the two files"
    ):
        check_sharding(Sharding.of_launch_config(check_up.launch), config)
    check_engine(check_up, config.engine, divides=False)
    policy = config.model_name_or_path
    prompts = check_prompts(check_up, config.prompts, policy, config.max_new_tokens, drops_long=True)
    _check_prompt_sets(check_up, config, prompts)
    rewards = (config.helpfulness_reward_model, config.safety_reward_model)
    check_reward_models(check_up, *rewards, prompts, config.allow_uncalibrated_safety)
    if prompts and not (check_up.failed(PREFIX_STABLE) or check_up.failed(PAD_EMBEDDING)):
        _check_models(check_up, config, prompts)


def _check_prompt_sets(check_up: CheckUp, config: PPOConfig, prompts: Sequence[Prompt]) -> None:
    with check_up.check(
        "safety prompts",
        "without the tag the safety score counts only below the threshold (R_c, section 3.2.3)",
        "tag the prompts that were written to test safety with is_safety: true",
    ):
        if prompts and not any(prompt.is_safety for prompt in prompts):
            raise InputError(f"{config.prompts}: none of {len(prompts)} prompts looked at is tagged is_safety")
    if config.held_out_prompts:
        with check_up.check(
            "held-out prompts",
            "a policy that is judged on what it trains on hides its overfitting",
            "leave the shared prompts out of one of the files",
        ):
            if shared := set(read_some(check_up, config.held_out_prompts)) & set(prompts):
                raise InputError(f"{config.held_out_prompts}: shares {len(shared)} prompts with {config.prompts}")


def _check_models(check_up: CheckUp, config: PPOConfig, prompts: Sequence[Prompt]) -> None:
    policy = check_up.models.checkpoint(config.model_name_or_path)
    critic = check_up.models.checkpoint(config.helpfulness_reward_model, is_scalar=True)
    if policy is None or critic is None:
        check_up.waiting |= dict.fromkeys(_ON_MODELS, f"the architecture of {config.model_name_or_path}")
        return
    with check_up.check(
        "models load",
        "the stage would stop when its turn comes",
        "choose an architecture that transformers has a causal model and a sequence classifier of",
    ):
        models = load_policy_and_critic(policy, critic, config.attn_implementation, gradient_checkpointing=False)
        tokenizer = check_up.models.tokenizer(policy)
        models.requires_grad_(False)
        _check_premises(check_up, config, models, tokenizer, prompts)


def _check_premises(
    check_up: CheckUp, config: PPOConfig, models: PolicyAndCritic, tokenizer: Any, prompts: Sequence[Prompt]
) -> None:
    _check_own_log_probs(check_up, models, tokenizer, prompts[0])
    responses = _answer(models, tokenizer, prompts, config)
    ours = _log_probs(models, responses, config.temperature)
    with check_up.check(
        "ratio is 1",
        "the clip and the gradient are wrong from the first step on (dropout, positions under padding)",
        "turn dropout off in the model's config, or try another attn_implementation",
        TrainingFault,
    ):
        check_no_dropout(models)
        check_first_ratio(_deviation(models, responses, ours, config.temperature), low_precision=False, iteration=0)
    _check_sampler(check_up, config, models, responses, ours)


def _check_own_log_probs(check_up: CheckUp, models: PolicyAndCritic, tokenizer: Any, prompt: Prompt) -> None:
    with check_up.check(
        "log-probabilities",
        "ratio, KL and loss would be of another distribution than the one that is sampled",
        "use a model whose logits are its last hidden states times its output embeddings, with at most a soft cap",
        TrainingFault,
    ):
        check_log_probs(models.policy, render_prompt(tokenizer, prompt.prompt))


def _check_sampler(
    check_up: CheckUp, config: PPOConfig, models: PolicyAndCritic, responses: Responses, ours: torch.Tensor
) -> None:
    with check_up.check(
        "sampler against trainer",
        "the samples come from another policy than the one that learns, and the KL turns negative",
        "use a model whose positions do not hang on the length of the text, or another attn_implementation",
        TrainingFault,
    ):
        theirs = sampler_log_probs(models.policy, responses.token_ids, responses.response_mask, config.temperature)
        mismatch = (ours[responses.response_mask] - theirs).abs().mean().item()
        check_sampler(mismatch, config.max_sampler_mismatch, iteration=0)


def _answer(models: PolicyAndCritic, tokenizer: Any, prompts: Sequence[Prompt], config: PPOConfig) -> Responses:
    """Return sampled responses to the shortest and the longest of some prompts, which pad each other."""
    ordered = sorted(prompts, key=lambda prompt: len(render_prompt(tokenizer, prompt.prompt)))
    chosen = [*ordered[: _ROWS // 2], *ordered[-(_ROWS // 2) :]]
    samples = sample(
        models.policy,
        tokenizer,
        [prompt.prompt for prompt in chosen],
        temperature=config.temperature,
        max_new_tokens=_NEW_TOKENS,
        progress=False,
    )
    return own_responses(chosen, samples, tokenizer.pad_token_id, 0, 1, torch.device("cpu"))


@torch.no_grad()
def _log_probs(models: PolicyAndCritic, responses: Responses, temperature: float, rows: slice = slice(None)) -> Any:
    """Return log-probabilities [rows, time] as the rollout measures them."""
    inputs = (responses.token_ids[rows], responses.attention_mask[rows], responses.response_mask[rows])
    return models(*inputs, temperature, part="policy").log_probs


@torch.no_grad()
def _deviation(models: PolicyAndCritic, responses: Responses, ours: torch.Tensor, temperature: float) -> float:
    """Return the mean distance of the ratio from 1, as an update computes it: training mode, other micro-batches."""
    models.train()
    rows = [_log_probs(models, responses, temperature, slice(row, row + 1)) for row in range(len(ours))]
    models.eval()
    mask = responses.response_mask
    ratio = policy_ratio(torch.cat(rows), ours, mask)
    return ((ratio - 1).abs()[mask].sum() / mask.sum()).item()
