"""The stage that compares checkpoints on held-out prompts, by a judge and by the reward models (Figure 11).

How far each has moved from the first one (KL), how long its answers are and how their grades vary is measured on the
same responses. Without a judge the reward models grade, which the policies were trained to please.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chat_model.conversation import Message, Prompt, to_dicts
from chat_model.dotted import resolve
from chat_model.engines import ENGINE_HELP, Engine
from chat_model.errors import InputError
from chat_model.generation import Samples, sample
from chat_model.intervals import bootstrap_interval
from chat_model.loading import load_chat_model
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from reward_model.scoring import RewardScorer
from rlhf.evaluate.contests import compare_in_turn, contests
from rlhf.evaluate.divergence import log_ratios
from rlhf.evaluate.grades import Judge, grades_by_name, mean_grades
from rlhf.prompt_sets import draw_prompts

JUDGE, REWARD_MODELS = "judge", "reward models"  # who decides a contest


@dataclass
class EvaluateConfig:
    """Which checkpoints, on which prompts, judged by whom."""

    checkpoints: list[str] = field(
        metadata={"help": "Chat checkpoints; the first is the one the others are held against."}
    )
    names: list[str] = field(metadata={"help": "A name for each checkpoint, in the same order."})
    prompts: str = field(metadata={"help": "Held-out prompts with `prompt` and `is_safety`."})
    output_dir: str = field(metadata={"help": "Folder to write to."})
    judge: str | None = field(
        default=None,
        metadata={"help": "Dotted name of the function that grades a response; default: both reward models grade."},
    )
    helpfulness_reward_model: str | None = field(default=None, metadata={"help": "Also score by this reward model."})
    safety_reward_model: str | None = field(default=None, metadata={"help": "Also score by this reward model."})
    num_prompts: int | None = field(default=None, metadata={"help": "Prompts drawn; default: all."})
    temperature: float = field(default=1.0, metadata={"help": "Of the sampling, the same for every checkpoint."})
    max_new_tokens: int = field(default=512, metadata={"help": "Bound of a response, in tokens."})
    dtype: str = field(default="float32", metadata={"help": "Precision of the checkpoints and of the reward models."})
    batch_tokens: int = field(default=32768, metadata={"help": "Bound of rows x tokens in a batch of sampling."})
    score_batch_tokens: int = field(
        default=4096,
        metadata={"help": "The same in a batch of scoring; on a CPU more is slower, on a GPU little faster."},
    )
    engine: Engine = field(default="transformers", metadata={"help": ENGINE_HELP})
    seed: int = field(default=0, metadata={"help": "Of the draw of prompts and the sampling."})


@dataclass(frozen=True)
class Judged:
    """One checkpoint's responses to all prompts, what the judge said of each, and what the reward models did.

    `kl` has the log-ratio of each response to the first checkpoint; none where the two cannot be compared.
    """

    samples: Samples
    verdicts: list[dict[str, float]]
    rewards: dict[str, list[float]] = field(default_factory=dict)  # "reward_helpfulness" -> one score a response
    kl: list[float] = field(default_factory=list)

    @property
    def deciding(self) -> list[float]:
        """The value that decides a comparison: the first of each verdict."""
        return [next(iter(verdict.values())) for verdict in self.verdicts]


def compare(run: StageRun, config: EvaluateConfig) -> None:
    """Record scores per checkpoint and win rates, and write `responses.jsonl` with every response side by side.

    Raises:
        InputError: names that do not fit the checkpoints, a judge that cannot be imported, or nothing that grades.
    """
    _check(config)
    judge = resolve(config.judge) if config.judge else None
    prompts = draw_prompts(config.prompts, config.num_prompts, config.seed)
    responses = dict(zip(config.names, _respond(config, prompts), strict=True))
    rewards = score_by_reward_models(config, prompts, [samples for samples, _ in responses.values()])
    judged = {
        name: Judged(samples, _verdicts(judge, prompts, samples, scores), scores, kl)
        for (name, (samples, kl)), scores in zip(responses.items(), rewards, strict=True)
    }
    if run.is_main:
        run.record(
            checkpoints={name: summarize(each) for name, each in judged.items()},
            intervals={name: intervals(each) for name, each in judged.items()},
            win_rates=compare_in_turn({name: each.deciding for name, each in judged.items()}),
            contests=contests(_deciding_scores(config, prompts, judged), [prompt.is_safety for prompt in prompts]),
        )
        run.count(prompts=len(prompts), safety_prompts=sum(prompt.is_safety for prompt in prompts))
        write_rows(run.folder / "responses.jsonl", _rows(prompts, judged))


def _check(config: EvaluateConfig) -> None:
    if len(config.names) != len(config.checkpoints) or len(set(config.names)) != len(config.names):
        raise InputError(f"names: found {config.names}; expected a different name for each of the checkpoints")
    if not config.judge and not (config.helpfulness_reward_model and config.safety_reward_model):
        raise InputError("judge: is missing; expected one, or both reward models, to tell which response is better")


def summarize(judged: Judged) -> dict[str, float]:
    """Return the mean of every grade in points (0 to 100) over the responses that have it, and the means of the rest.

    These are the length in tokens, the KL divergence from the first checkpoint in nats a response, and the rewards.
    """
    length = sum(map(len, judged.samples.response_ids)) / len(judged.samples)
    kl = {"kl": judged.kl} if judged.kl else {}
    means = {name: _mean(values) for name, values in {**kl, **judged.rewards}.items()}
    return {**mean_grades(judged.verdicts), "length": length, **means}


def intervals(judged: Judged) -> dict[str, list[float]]:
    """Return the 95 % bootstrap interval ``[low, high]`` of each grade, in points, and of the KL divergence."""
    measured = {name: [100 * value for value in values] for name, values in grades_by_name(judged.verdicts).items()}
    measured |= {"kl": judged.kl} if judged.kl else {}
    return {name: list(bootstrap_interval(values)) for name, values in measured.items()}


def score_by_reward_models(
    config: EvaluateConfig, prompts: Sequence[Prompt], responses: Sequence[Samples]
) -> list[dict[str, list[float]]]:
    """Return for each checkpoint's `responses` their scores under every reward model that the config names.

    A model is loaded once; every process calls.
    """
    conversations = [
        (*prompt.prompt, Message("assistant", text or "(empty)"))
        for samples in responses
        for prompt, text in zip(prompts, samples.texts, strict=True)
    ]
    models = {"helpfulness": config.helpfulness_reward_model, "safety": config.safety_reward_model}
    scores: list[dict[str, list[float]]] = [{} for _ in responses]
    for name, checkpoint in models.items():
        if checkpoint:
            scorer = RewardScorer.from_checkpoint(checkpoint, config.score_batch_tokens, config.dtype)
            of_all = scorer.score(conversations, True, "scoring").split(len(prompts))
            for of_one, part in zip(scores, of_all, strict=True):
                of_one[f"reward_{name}"] = part.tolist()
    return scores


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _deciding_scores(
    config: EvaluateConfig, prompts: Sequence[Prompt], judged: Mapping[str, Judged]
) -> dict[str, dict[str, list[float]]]:
    """Return by judge, and by reward models where there are both, the value of each response that decides a contest.

    The safety model decides on safety prompts, the helpfulness model on the others.
    """
    scores = {JUDGE: {name: each.deciding for name, each in judged.items()}} if config.judge else {}
    if all({"reward_helpfulness", "reward_safety"} <= set(each.rewards) for each in judged.values()):
        kinds = [f"reward_{_kind(prompt)}" for prompt in prompts]
        scores[REWARD_MODELS] = {
            name: [each.rewards[kind][index] for index, kind in enumerate(kinds)] for name, each in judged.items()
        }
    return scores


def _respond(config: EvaluateConfig, prompts: Sequence[Prompt]) -> Iterator[tuple[Samples, list[float]]]:
    """Yield each checkpoint's responses, and their log-ratios to the first checkpoint (see `Judged.kl`)."""
    reference: Any = None
    for checkpoint in config.checkpoints:
        policy, tokenizer = load_chat_model(checkpoint, config.dtype)
        samples = _sample(config, policy, tokenizer, prompts)
        reference = reference or (policy, tokenizer.get_vocab())
        comparable = config.temperature > 0 and tokenizer.get_vocab() == reference[1]
        settings = (config.temperature, config.score_batch_tokens)
        yield samples, log_ratios(policy, reference[0], samples, *settings) if comparable else []


def _sample(config: EvaluateConfig, policy: Any, tokenizer: Any, prompts: Sequence[Prompt]) -> Samples:
    return sample(
        policy,
        tokenizer,
        [prompt.prompt for prompt in prompts],
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        batch_tokens=config.batch_tokens,
        seed=config.seed,
        engine=config.engine,
        description="held-out prompts",
    )


def _verdicts(
    judge: Judge | None, prompts: Sequence[Prompt], samples: Samples, scores: Mapping[str, list[float]]
) -> list[dict[str, float]]:
    """Return the judge's verdicts or, without one, sigma(raw score) of the reward model for the prompt's kind."""
    if judge:
        pairs = zip(prompts, samples.texts, strict=True)
        return [dict(judge(to_dicts(prompt.prompt), text)) for prompt, text in pairs]
    raw = [scores[f"reward_{_kind(prompt)}"][index] for index, prompt in enumerate(prompts)]
    return [{_kind(prompt): 1 / (1 + math.exp(-value))} for prompt, value in zip(prompts, raw, strict=True)]


def _kind(prompt: Prompt) -> str:
    return "safety" if prompt.is_safety else "helpfulness"


def _rows(prompts: Sequence[Prompt], judged: Mapping[str, Judged]) -> Iterator[dict[str, Any]]:
    for index, prompt in enumerate(prompts):
        yield {
            **prompt.to_row(),
            "responses": {name: each.samples.texts[index] for name, each in judged.items()},
            "scores": {
                name: {**each.verdicts[index], **{model: values[index] for model, values in each.rewards.items()}}
                for name, each in judged.items()
            },
        }
