"""The configuration of a PPO stage; defaults are those of the paper's 7B model (section 3.2.3)."""

from dataclasses import dataclass, field
from typing import Literal

from chat_model.engines import ENGINE_HELP, Engine
from chat_model.errors import InputError


def _option(default, text: str):
    return field(default=default, metadata={"help": text})


@dataclass
class PPOConfig:
    """What `python -m rlhf.ppo` can be told."""

    output_dir: str = _option("", "Folder for the trained policy, its tokenizer and metrics.jsonl.")
    model_name_or_path: str = _option("", "The policy to start from: a chat checkpoint (hub id or folder).")
    reference_model: str | None = _option(None, "The frozen pi_0 of the KL penalty; the starting policy by default.")
    helpfulness_reward_model: str = _option("", "Helpfulness reward model; the critic starts from it too.")
    safety_reward_model: str = _option("", "Safety reward model, calibrated: sigma(score) is read as P(safe).")
    prompts: str = _option("", "Rows with `prompt` and `is_safety`: a file, a folder or a hub id.")
    seed: int = _option(0, "Seed of the prompt order and of sampling.")
    frozen_dtype: Literal["float32", "bfloat16"] = _option(
        "float32", "Precision of all that is not trained; trained weights are float32, as 1e-6 steps need."
    )
    attn_implementation: str | None = _option(None, "Attention of the policy, critic and reference; default: sdpa.")
    gradient_checkpointing: bool = _option(False, "Recompute layers in the backward pass to save memory.")
    use_liger_kernel: bool = _option(False, "Liger's fused norms, rotary embeddings and MLPs; needs liger-kernel.")

    num_iterations: int = _option(200, "Iterations: rollout of one batch, then its mini-batches (paper: 200-400).")
    batch_size: int = _option(512, "Prompts an iteration, over all processes.")
    mini_batch_size: int = _option(64, "Responses a gradient step, over all processes.")
    num_epochs: int = _option(1, "Passes over a batch's mini-batches (paper: 1).")
    sample_batch_tokens: int = _option(32768, "Padded tokens, new ones included, that are sampled at once.")
    micro_batch_tokens: int = _option(16384, "Padded tokens that a process holds in one forward and backward pass.")
    engine: Engine = _option("transformers", ENGINE_HELP)
    temperature: float = _option(1.0, "Sampling temperature; every log-probability is taken at it.")
    old_log_probs: Literal["trainer", "sampler"] = _option(
        "trainer",
        "Whose log-probabilities of the responses ratio and KL start from: trainer runs the policy once more; sampler "
        "takes those of the draw, which spares that pass and suits engine transformers in float32.",
    )
    max_new_tokens: int = _option(512, "Tokens after which a response is cut off.")
    max_prompt_tokens: int | None = _option(None, "Longer prompts are left out and counted; default: what fits.")

    learning_rate: float = _option(1e-6, "Constant learning rate of the policy.")
    critic_learning_rate: float = _option(1e-6, "Constant learning rate of the critic.")
    critic_warmup_iterations: int = _option(2, "First iterations, in which only the critic learns.")
    weight_decay: float = _option(0.1, "AdamW's decay of matrices; norms and biases do not decay.")
    adam_beta1: float = _option(0.9, "AdamW's decay of the mean gradient.")
    adam_beta2: float = _option(0.95, "AdamW's decay of the mean squared gradient.")
    adam_epsilon: float = _option(1e-5, "AdamW's epsilon.")
    max_grad_norm: float = _option(1.0, "Gradient norm bound, for the policy and for the critic each.")

    clip_range: float = _option(0.2, "PPO's clip of the policy ratio.")
    value_clip_range: float | None = _option(0.2, "Clip of the value's move within an iteration; null: none.")
    kl_coefficient: float = _option(0.01, "beta, reward per nat (paper: 0.01 at 7B and 13B, 0.005 above).")
    gamma: float = _option(1.0, "Discount per token.")
    gae_lambda: float = _option(0.95, "Lambda of generalised advantage estimation.")
    whiten_advantages: bool = _option(True, "Whiten advantages over the global batch.")
    safety_threshold: float = _option(0.15, "P(safe) below which the safety score replaces the helpfulness score.")
    allow_uncalibrated_safety: bool = _option(
        False, "Go on with a safety reward model whose sigma(score) is not known to be P(safe)."
    )
    missing_stop_penalty: float = _option(0.0, "Taken off the whitened score of a response cut off at the bound.")
    kl_target: float | None = _option(None, "Nats per response that beta is steered to; default: beta is constant.")
    kl_horizon: int = _option(10_000, "Responses over which beta moves to the KL target.")

    max_kl: float | None = _option(200.0, "Mean KL in nats per response above which the run stops; null: none.")
    sampler_check_rows: int = _option(4, "Responses of each process whose log-probs are taken as a sampler would, too.")
    max_sampler_mismatch: float = _option(0.1, "Mean nats a token between sampler and trainer that stop the run.")

    held_out_prompts: str | None = _option(None, "Prompts the policy is judged on and never trained on; default: none.")
    held_out_judge: str | None = _option(
        None, "Dotted name of a function that grades the held-out responses; for the curves only."
    )
    evaluate_every: int = _option(10, "Iterations between judgements on the held-out prompts.")
    stop_on: Literal["reward", "win_rate"] = _option(
        "reward", "Held-out measure that picks the best policy: mean R_c, or the share of wins over the start."
    )
    patience: int = _option(0, "Judgements in a row without a gain after which training stops; 0: never.")

    save_rollouts: bool = _option(False, "Write each iteration's responses, scores and advantages to rollouts/.")
    replay_rollouts: str | None = _option(None, "Folder of saved rollouts to learn from in place of sampling.")
    report_to: list[str] = field(
        default_factory=lambda: ["none"],
        metadata={"help": "Trackers that get every iteration's metrics, too: trackio, tensorboard, wandb."},
    )
    save_every: int = _option(20, "Iterations between checkpoints from which a killed run continues; 0: none.")

    layout: Literal["full", "shared_base"] = _option(
        "full", "full: policy and critic trained whole; shared_base: every model a LoRA adapter of model_name_or_path."
    )
    policy_adapter: str | None = _option(None, "shared_base: adapter that the policy starts from; default: a new one.")
    lora_r: int = _option(16, "shared_base: rank of a new policy adapter.")
    lora_alpha: int = _option(32, "shared_base: a new policy adapter is scaled by lora_alpha / lora_r.")
    lora_target_modules: list[str] = field(
        default_factory=lambda: ["all-linear"],
        metadata={"help": "shared_base: layers of a new policy adapter; all-linear: all but the output layer."},
    )
    load_in_4bit: bool = _option(False, "shared_base: hold the base in four bits (NF4; needs bitsandbytes).")


_REQUIRED = ("model_name_or_path", "helpfulness_reward_model", "safety_reward_model", "prompts")
_POSITIVE = (
    *("num_iterations", "batch_size", "mini_batch_size", "num_epochs", "sample_batch_tokens", "micro_batch_tokens"),
    *("temperature", "max_new_tokens", "max_grad_norm", "clip_range", "lora_r", "lora_alpha"),
    *("kl_target", "kl_horizon", "max_kl", "max_sampler_mismatch", "evaluate_every"),
)
_NOT_NEGATIVE = (
    *("learning_rate", "critic_learning_rate", "critic_warmup_iterations", "weight_decay", "kl_coefficient"),
    *("missing_stop_penalty", "sampler_check_rows", "patience", "save_every"),
)


def check_config(config: PPOConfig, num_processes: int) -> None:
    """Raise InputError, naming the field, for values that no run could honour."""
    for name in _REQUIRED:
        if not getattr(config, name):
            raise InputError(f"{name}: is missing; expected a path or a hub id")
    _check_ranges(config)
    _check_batch(config, num_processes)
    if config.old_log_probs == "sampler" and config.engine != "transformers":
        raise InputError(
            f"old_log_probs: found sampler with engine {config.engine}; expected engine transformers, or trainer"
        )
    _check_layout(config)
    if config.patience and not config.held_out_prompts:
        raise InputError(
            f"patience: found {config.patience}; expected held_out_prompts with it, to judge the policy on"
        )
    if config.held_out_judge and not config.held_out_prompts:
        raise InputError(f"held_out_judge: found {config.held_out_judge}; expected held_out_prompts with it, to grade")
    if config.kl_target and not config.kl_coefficient:
        raise InputError("kl_coefficient: found 0 beside a kl_target; expected a positive number to start from")


def _check_ranges(config: PPOConfig) -> None:
    for name in _POSITIVE:
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise InputError(f"{name}: found {value}; expected a positive number")
    for name in _NOT_NEGATIVE:
        if not getattr(config, name) >= 0:
            raise InputError(f"{name}: found {getattr(config, name)}; expected 0 or more")
    for name in ("gamma", "gae_lambda"):
        if not 0 <= getattr(config, name) <= 1:
            raise InputError(f"{name}: found {getattr(config, name)}; expected a number from 0 to 1")
    if not 0 < config.safety_threshold < 1:
        raise InputError(f"safety_threshold: found {config.safety_threshold}; expected a probability between 0 and 1")


def _check_batch(config: PPOConfig, num_processes: int) -> None:
    if config.batch_size % config.mini_batch_size:
        raise InputError(
            f"batch_size: found {config.batch_size}; expected a multiple of mini_batch_size {config.mini_batch_size}"
        )
    if config.mini_batch_size % num_processes:
        found = f"found {config.mini_batch_size} on {num_processes} processes"
        raise InputError(f"mini_batch_size: {found}; expected a multiple of the number of processes")


def _check_layout(config: PPOConfig) -> None:
    if config.layout == "shared_base" and config.reference_model:
        raise InputError(
            f"reference_model: found {config.reference_model}; in layout shared_base the reference is the starting "
            "policy: leave it out, or set layout: full"
        )
    for name in ("policy_adapter", "load_in_4bit"):
        if config.layout == "full" and getattr(config, name):
            raise InputError(f"{name}: found {getattr(config, name)}; expected layout: shared_base with it")
