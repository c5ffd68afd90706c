"""The stage: sample K a prompt, score, keep the best, remember them for later rounds, write conversations for `sft`.

1 inputs · 2 temperature · 3 samples · 4 scores · 5 pool · 6 files · 7 measurements
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from chat_model.conversation import Prompt
from chat_model.dotted import resolve
from chat_model.errors import InputError
from chat_model.loading import load_tokenizer
from chat_model.rows import write_rows
from chat_model.shards import Shards
from chat_model.stage import StageRun
from rlhf.prompt_sets import draw_prompts
from rlhf.rejection_sampling.candidates import Candidate, Response, read_pool
from rlhf.rejection_sampling.config import RejectionSamplingConfig, check_config
from rlhf.rejection_sampling.measurements import count_kept, measure_by_judge, measure_pool, measure_samples
from rlhf.rejection_sampling.pool import PoolRules, best_per_prompt, first_per_prompt
from rlhf.rejection_sampling.sampling import draw_responses, prompts_that_fit
from rlhf.rejection_sampling.scores import score_responses
from rlhf.rejection_sampling.temperature import sweep_temperatures


def select(run: StageRun, config: RejectionSamplingConfig) -> None:
    """Write `samples.jsonl` (all), `pool.jsonl` (the best so far) and `conversations.jsonl` (what `sft` trains on).

    Raises:
        InputError: a field, file or row that no run could honour, before anything is sampled; or nothing left to keep.
    """
    prompts, remembered = _read_inputs(run, config)  # 1
    shards = Shards(run.folder / "shards")
    cache = Path(config.score_cache or shards.folder / "scores")
    temperatures = _temperatures(run, config, prompts, shards, cache)  # 2
    num_samples = config.num_samples // len(temperatures)
    drawn = draw_responses(config, prompts, temperatures, num_samples, shards, "samples")  # 3
    candidates = score_responses(config, [*drawn, *remembered], cache)  # 4: all under the same, current reward models
    if run.is_main:
        new, earlier = candidates[: len(drawn)], candidates[len(drawn) :]
        kept = _keep_best(run, config, new, earlier)  # 5, 6
        _measure(run, config, new, temperatures)  # 7
        run.record(**measure_pool(kept, remembered, earlier))
        shutil.rmtree(shards.folder)


def _read_inputs(run: StageRun, config: RejectionSamplingConfig) -> tuple[list[Prompt], list[Response]]:
    """Return the prompts to sample and what earlier rounds remembered; what is wrong shows before hours of sampling."""
    check_config(config)
    if config.judge:
        resolve(config.judge)
    for reward_model in (config.helpfulness_reward_model, config.safety_reward_model):
        load_tokenizer(reward_model)
    remembered = [response for source in config.pool for response in read_pool(source)]
    read = draw_prompts(config.prompts, config.num_prompts, config.seed)
    prompts = prompts_that_fit(config, read)
    run.count(prompts=len(prompts), prompts_too_long=len(read) - len(prompts), remembered=len(remembered))
    return prompts, remembered


def _temperatures(
    run: StageRun, config: RejectionSamplingConfig, prompts: Sequence[Prompt], shards: Shards, cache: Path
) -> list[float]:
    """Return the configured temperatures or, where candidates are named, the best of them in this round."""
    if not config.tune_temperature:
        return config.temperature
    sweep = sweep_temperatures(config, prompts, shards, cache)
    run.record(temperature_sweep=sweep)
    return [sweep["chosen"]]


def _keep_best(
    run: StageRun, config: RejectionSamplingConfig, new: Sequence[Candidate], earlier: Sequence[Candidate]
) -> list[Candidate]:
    """Let new and remembered candidates compete, or these stand in; write the files, return what is trained on."""
    rules = PoolRules(config.pool_per_prompt, config.min_reward, config.max_similarity, config.keep_cut_off)
    stand_in = config.earlier_samples == "stand_in"
    pool, dropped = best_per_prompt(new, rules, earlier) if stand_in else best_per_prompt([*new, *earlier], rules)
    kept = first_per_prompt(pool, config.keep_per_prompt)
    if not kept:
        reasons = ", ".join(f"{name} {count}" for name, count in dropped.items() if count)
        raise InputError(
            f"{config.model_name_or_path}: none of {len(new) + len(earlier)} responses is kept ({reasons})"
        )
    write_rows(run.folder / "samples.jsonl", (candidate.to_row() for candidate in new))
    write_rows(run.folder / "pool.jsonl", (candidate.to_row() for candidate in pool))
    write_rows(run.folder / "conversations.jsonl", (candidate.to_conversation_row() for candidate in kept))
    run.count(samples=len(new), **dropped, pool=len(pool), **count_kept(kept, config.round))
    return kept


def _measure(
    run: StageRun, config: RejectionSamplingConfig, new: Sequence[Candidate], temperatures: Sequence[float]
) -> None:
    run.record(**measure_samples(new, temperatures, config.num_samples))
    if config.judge:
        run.record(judged_by_n=measure_by_judge(new, config.num_samples, resolve(config.judge)))
