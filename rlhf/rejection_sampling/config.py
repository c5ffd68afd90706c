"""The configuration of the rejection sampling stage; defaults follow section 3.2.3 where it gives a number."""

from dataclasses import dataclass, field
from typing import Literal

from chat_model.engines import ENGINE_HELP, Engine
from chat_model.errors import InputError


@dataclass
class RejectionSamplingConfig:
    """What to sample, how many, by which reward models to choose, and what to remember."""

    model_name_or_path: str = field(metadata={"help": "The newest chat checkpoint."})
    helpfulness_reward_model: str = field(metadata={"help": "Checkpoint of the helpfulness reward model."})
    safety_reward_model: str = field(metadata={"help": "Checkpoint of the safety reward model."})
    prompts: str = field(metadata={"help": "File, folder or hub id with `prompt` and `is_safety`."})
    output_dir: str = field(metadata={"help": "Folder to write to."})
    round: str = field(default="", metadata={"help": "Name of this round, noted on every sample."})
    num_prompts: int | None = field(default=None, metadata={"help": "Prompts drawn for this round; default: all."})
    num_samples: int = field(default=8, metadata={"help": "K, samples a prompt."})
    temperature: list[float] = field(
        default_factory=lambda: [1.2],
        metadata={"help": "One (1.2 to 1.3 was best for the paper's RLHF model), or several that share K evenly."},
    )
    tune_temperature: list[float] = field(
        default_factory=list,
        metadata={"help": "Candidates; the one of highest expected maximum at K takes the place of `temperature`."},
    )
    tuning_prompts: int = field(default=64, metadata={"help": "Of the round's prompts, those the tuning samples."})
    max_new_tokens: int = field(default=512, metadata={"help": "Bound of a response, in tokens."})
    keep_cut_off: bool = field(
        default=False, metadata={"help": "Also choose responses cut off at the bound, which teach to stop in mid-word."}
    )
    safety_threshold: float = field(default=0.15, metadata={"help": "P(safe) below which the safety model decides."})
    judge: str | None = field(
        default=None, metadata={"help": "Dotted name of a function that grades a response; for the curves only."}
    )
    pool: list[str] = field(default_factory=list, metadata={"help": "`pool.jsonl` files of earlier rounds, if any."})
    earlier_samples: Literal["compete", "stand_in"] = field(
        default="compete",
        metadata={
            "help": "What the pool's samples do: compete by reward with new ones, as in the paper, or stand_in where "
            "the round has none for a prompt, so that a reward model's errors on old samples do not win."
        },
    )
    keep_per_prompt: int = field(default=1, metadata={"help": "How many of the best to train on for each prompt."})
    pool_per_prompt: int = field(
        default=4, metadata={"help": "How many to remember: under later reward models another may be the best."}
    )
    min_reward: float | None = field(
        default=None, metadata={"help": "Raw reward, logit(R_c), below which nothing is kept; default: no bound."}
    )
    max_similarity: float = field(
        default=0.9, metadata={"help": "Share of words in common from which on a response counts as a duplicate."}
    )
    dtype: str = field(default="float32", metadata={"help": "Precision of the policy and of the reward models."})
    engine: Engine = field(default="transformers", metadata={"help": ENGINE_HELP})
    batch_tokens: int = field(default=32768, metadata={"help": "Bound of rows x tokens in a batch of sampling."})
    score_batch_tokens: int | None = field(
        default=None, metadata={"help": "The same in a batch of scoring; default: 2,048 on a CPU, 16,384 elsewhere."}
    )
    score_cache: str | None = field(
        default=None,
        metadata={"help": "Folder of scores shared by runs; default: one that only a killed run finds again."},
    )
    prompts_per_shard: int = field(
        default=256, metadata={"help": "Prompts sampled between two writes; a killed run loses no more than these."}
    )
    seed: int = field(default=0, metadata={"help": "Of the draw of prompts and the sampling."})


_POSITIVE = (
    *("num_samples", "tuning_prompts", "max_new_tokens", "keep_per_prompt", "pool_per_prompt"),
    *("max_similarity", "batch_tokens", "score_batch_tokens", "prompts_per_shard"),
)


def check_config(config: RejectionSamplingConfig) -> None:
    """Raise InputError, naming the field, for values that no run could honour."""
    for name in _POSITIVE:
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise InputError(f"{name}: found {value}; expected a positive number")
    if not 0 < config.safety_threshold < 1:
        raise InputError(f"safety_threshold: found {config.safety_threshold}; expected a probability between 0 and 1")
    if config.pool_per_prompt < config.keep_per_prompt:
        expected = f"expected at least keep_per_prompt={config.keep_per_prompt}"
        raise InputError(f"pool_per_prompt: found {config.pool_per_prompt}; {expected}")
    _check_temperatures("temperature", config.temperature)
    _check_temperatures("tune_temperature", config.tune_temperature)
    if not config.temperature or config.num_samples % len(config.temperature):
        found = f"found {len(config.temperature)} for num_samples={config.num_samples}"
        raise InputError(f"temperature: {found}; expected as many as share the samples evenly")


def _check_temperatures(name: str, temperatures: list[float]) -> None:
    if min(temperatures, default=1.0) <= 0 or len(set(temperatures)) < len(temperatures):
        raise InputError(f"{name}: found {temperatures}; expected different positive numbers")
