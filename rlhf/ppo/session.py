"""What a run of PPO works with from its first iteration to its last, made ready before the loop starts."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from rich.console import Console
from torch import nn

from chat_model.conversation import Prompt
from chat_model.dotted import resolve
from chat_model.errors import InputError
from chat_model.loading import load_tokenizer
from chat_model.processes import on_cpu_only
from chat_model.rows import read_prompts
from chat_model.sharding import whole_weights
from chat_model.stage import StageRun
from chat_model.template import render_prompt
from rlhf.evaluate.grades import Judge
from rlhf.ppo.config import PPOConfig, check_config
from rlhf.ppo.guards import check_log_probs, check_no_dropout, check_safety_model
from rlhf.ppo.memory_plan import plan_memory, plan_table
from rlhf.ppo.models.interface import Reference, Scorers, parameter_groups
from rlhf.ppo.models.loading import load_models
from rlhf.ppo.sharding import set_up_sharding, whole_state
from rlhf.ppo.state import TrainingState
from rlhf.ppo.tracking import start_trackers, trackers_of


@dataclass(frozen=True)
class Models:
    """All that an iteration runs, on its device."""

    trained: nn.Module  # `TrainedModels`, prepared by Accelerate
    optimizer: torch.optim.Optimizer
    reference: Reference
    scorers: Scorers
    tokenizer: Any


@dataclass(frozen=True)
class Session:
    """One run: its output, its settings, its processes, its models and its prompts."""

    run: StageRun
    config: PPOConfig
    accelerator: Accelerator
    models: Models
    prompts: list[Prompt]
    held_out: list[Prompt]  # never trained on; may be none
    judge: Judge | None  # grades the answers to them

    @contextlib.contextmanager
    def whole_policy(self) -> Iterator[Any]:
        """Give the policy as a causal language model whose weights are whole inside the ``with`` block."""
        trained = self.models.trained
        policy = self.accelerator.unwrap_model(trained).sampling_policy()
        with whole_weights(trained, policy):
            yield policy

    def save_policy(self, folder: Path) -> None:
        """Write the policy in Hugging Face format, with its tokenizer; every rank must call."""
        state = whole_state(self.accelerator, self.models.trained)
        if self.accelerator.is_main_process:
            self.accelerator.unwrap_model(self.models.trained).save_policy(folder, state)
            self.models.tokenizer.save_pretrained(folder)
        self.accelerator.wait_for_everyone()

    def log(self, row: dict[str, Any]) -> None:
        """Write one iteration's metrics to `metrics.jsonl` and to the trackers."""
        self.run.log(row)
        if self.accelerator.trackers:
            self.accelerator.log(row, step=row["iteration"])

    def say_once(self, state: TrainingState, text: str) -> None:
        """Print something that the user should know, the first time it is so; `run.json` will hold it too."""
        if text not in state.warned:
            state.warned.append(text)
            if self.accelerator.is_main_process:
                Console(stderr=True).print(f"iteration {state.iterations}: {text}", style="yellow", highlight=False)


def open_session(run: StageRun, config: PPOConfig, scorers: Scorers | None) -> Session:
    """Check the configuration, print the memory plan, load all models and read the prompts.

    Raises:
        InputError: a value of `config` that no run could honour, or no prompt that fits.
        TrainingFault: a premise of PPO does not hold (see `rlhf.ppo.guards`).
    """
    accelerator = start_processes(trackers_of(config), run.folder)
    check_config(config, accelerator.num_processes)
    set_up_sharding(accelerator, config)
    if scorers is None:
        check_safety_model(config.safety_reward_model, config.safety_threshold, config.allow_uncalibrated_safety)
    all_prompts, judge = read_prompts(config.prompts), resolve(config.held_out_judge) if config.held_out_judge else None
    held_out = read_prompts(config.held_out_prompts) if config.held_out_prompts else []
    tokenizer = load_tokenizer(config.model_name_or_path)
    if run.is_main:
        Console().print(plan_table(*plan_memory(config, with_reward_models=scorers is None)))
    models = _load_models(accelerator, config, tokenizer, scorers)
    prompts = _fitting(config, models, all_prompts, config.prompts)
    _count_prompts(run, all_prompts, prompts)
    check_log_probs(models.reference.model, render_prompt(tokenizer, prompts[0].prompt))
    held_out = _fitting_held_out(run, config, models, held_out, accelerator.num_processes) if held_out else []
    start_trackers(accelerator, config)
    return Session(run, config, accelerator, models, prompts, held_out, judge)


def start_processes(report_to: Sequence[str] = (), folder: Path | None = None) -> Accelerator:
    """Return Accelerate's view of the processes of this run, set up for a module of two parts.

    Args:
        report_to: trackers; those that write files write them to `folder`.
    """
    return Accelerator(
        cpu=on_cpu_only(),
        log_with=list(report_to) or None,
        project_dir=folder,
        # Policy and critic have a forward and backward pass each, in which the other's parameters go unused.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=True)],
    )


def _load_models(accelerator: Accelerator, config: PPOConfig, tokenizer: Any, scorers: Scorers | None) -> Models:
    models = load_models(config, tokenizer, accelerator.device, scorers)
    check_no_dropout(models.trained)
    groups = parameter_groups(models.trained, config.learning_rate, config.critic_learning_rate, config.weight_decay)
    betas = (config.adam_beta1, config.adam_beta2)
    optimizer = torch.optim.AdamW(groups, betas=betas, eps=config.adam_epsilon)
    trained, optimizer = accelerator.prepare(models.trained, optimizer)
    return Models(trained, optimizer, models.reference, models.scorers, tokenizer)


def _fitting(config: PPOConfig, models: Models, prompts: list[Prompt], source: str | None) -> list[Prompt]:
    """Return the prompts that leave room for a response."""
    context = models.reference.model.config.get_text_config().max_position_embeddings
    limit = min(config.max_prompt_tokens or context, context - config.max_new_tokens)
    kept = [prompt for prompt in prompts if len(render_prompt(models.tokenizer, prompt.prompt)) <= limit]
    if not kept:
        raise InputError(f"{source}: no prompt has at most {limit} tokens (context less max_new_tokens)")
    return kept


def _fitting_held_out(
    run: StageRun, config: PPOConfig, models: Models, prompts: list[Prompt], ranks: int
) -> list[Prompt]:
    kept = _fitting(config, models, prompts, config.held_out_prompts)
    run.count(held_out_prompts=len(kept), held_out_too_long=len(prompts) - len(kept))
    if len(kept) < ranks:
        found = f"{len(kept)} prompts that fit, on {ranks} processes"
        raise InputError(f"held_out_prompts: found {found}; expected one for each process at least")
    return kept


def _count_prompts(run: StageRun, read: list[Prompt], kept: list[Prompt]) -> None:
    run.count(prompts_read=len(read), prompts_kept=len(kept), prompts_too_long=len(read) - len(kept))
    run.count(prompts_safety=sum(prompt.is_safety for prompt in kept))
