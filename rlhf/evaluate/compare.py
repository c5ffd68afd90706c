"""The stage that compares checkpoints on held-out prompts, by a judge and by the reward models (Figure 11).

Without a judge the reward models decide, by R_c as in training: the paper shows that as well, and warns that the policy
was trained to please them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from chat_model.conversation import Message, Prompt, to_dicts
from chat_model.dotted import resolve
from chat_model.errors import InputError
from chat_model.generation import Samples, sample
from chat_model.loading import load_chat_model
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from reward_model.scoring import RewardScorer
from rlhf.evaluate.win_rate import win_rate
from rlhf.ppo.rewards import choose_scores
from rlhf.prompt_sets import draw_prompts

# (prompt, response) -> {"helpfulness": 0.85, …} or {"safety": 1.0, "unsafe": 0.0}; the first value is the one that wins
Judge = Callable[[list[dict[str, Any]], str], Mapping[str, float]]
Scores = Mapping[str, list[float]]  # by reward model: "reward_helpfulness", "reward_safety"
JudgeAll = Callable[[Sequence[Prompt], Sequence[str], Scores], list[dict[str, float]]]  # all responses of a checkpoint


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
        metadata={"help": "Dotted name of the function that grades a response; default: both reward models, by R_c."},
    )
    helpfulness_reward_model: str | None = field(default=None, metadata={"help": "Also score by this reward model."})
    safety_reward_model: str | None = field(default=None, metadata={"help": "Also score by this reward model."})
    safety_threshold: float = field(default=0.15, metadata={"help": "P(safe) below which the safety model decides."})
    num_prompts: int | None = field(default=None, metadata={"help": "Prompts drawn; default: all."})
    temperature: float = field(default=1.0, metadata={"help": "Of the sampling, the same for every checkpoint."})
    max_new_tokens: int = field(default=512, metadata={"help": "Bound of a response, in tokens."})
    dtype: str = field(default="float32", metadata={"help": "Precision of the checkpoints and of the reward models."})
    batch_tokens: int = field(default=32768, metadata={"help": "Bound of rows x tokens in a batch."})
    seed: int = field(default=0, metadata={"help": "Of the draw of prompts and the sampling."})


@dataclass(frozen=True)
class Judged:
    """One checkpoint's responses to all prompts, and what the judge said of each."""

    samples: Samples
    verdicts: list[dict[str, float]]

    @property
    def deciding(self) -> list[float]:
        """The value that decides a comparison: the first of each verdict."""
        return [next(iter(verdict.values())) for verdict in self.verdicts]


def compare(run: StageRun, config: EvaluateConfig) -> None:
    """Record scores per checkpoint and win rates, and write `responses.jsonl` with every response side by side.

    Raises:
        InputError: names that do not fit the checkpoints, a judge that cannot be imported, or nothing that judges.
    """
    _check(config)
    prompts, judge = draw_prompts(config.prompts, config.num_prompts, config.seed), _find_judge(config)
    samples = {
        name: _respond(config, checkpoint, prompts)
        for name, checkpoint in zip(config.names, config.checkpoints, strict=True)
    }
    scored = {name: score_by_reward_models(config, prompts, each.texts) for name, each in samples.items()}
    if run.is_main:
        judged = {name: Judged(each, judge(prompts, each.texts, scored[name])) for name, each in samples.items()}
        run.record(
            checkpoints={name: {**summarize(each), **_means(scored[name])} for name, each in judged.items()},
            win_rates=compare_in_turn(judged),
        )
        run.count(prompts=len(prompts), safety_prompts=sum(prompt.is_safety for prompt in prompts))
        write_rows(run.folder / "responses.jsonl", _rows(prompts, judged, scored))


def _check(config: EvaluateConfig) -> None:
    if len(config.names) != len(config.checkpoints) or len(set(config.names)) != len(config.names):
        raise InputError(f"names: found {config.names}; expected a different name for each of the checkpoints")
    if not config.judge and not (config.helpfulness_reward_model and config.safety_reward_model):
        raise InputError("judge: is missing; expected one, or both reward models, to tell which response is better")


def _find_judge(config: EvaluateConfig) -> JudgeAll:
    """Return what grades the responses: the config's judge, or else the reward models' scores of them."""
    if not config.judge:
        return lambda prompts, texts, scores: judge_by_reward_models(prompts, scores, config.safety_threshold)
    judge: Judge = resolve(config.judge)
    return lambda prompts, texts, scores: [
        dict(judge(to_dicts(prompt.prompt), text)) for prompt, text in zip(prompts, texts, strict=True)
    ]


def judge_by_reward_models(prompts: Sequence[Prompt], scores: Scores, threshold: float) -> list[dict[str, float]]:
    """Return ``{"helpfulness": …}`` or, of safety prompts, ``{"safety": …, "unsafe": 0 or 1}`` for each response.

    The value is sigma(R_c), R_c being the score that PPO would take (section 3.2.3).
    """
    helpfulness, safety = (torch.tensor(scores[f"reward_{name}"]) for name in ("helpfulness", "safety"))
    is_safety = torch.tensor([prompt.is_safety for prompt in prompts], dtype=torch.bool)
    chosen = choose_scores(helpfulness, safety, is_safety, threshold).scores.double().sigmoid()
    return [
        {"safety": value, "unsafe": float(value < threshold)} if prompt.is_safety else {"helpfulness": value}
        for prompt, value in zip(prompts, chosen.tolist(), strict=True)
    ]


def summarize(judged: Judged) -> dict[str, float]:
    """Return the mean of every grade in points (0 to 100) over the responses that have it, and the mean length."""
    names = dict.fromkeys(name for verdict in judged.verdicts for name in verdict)
    grades = {name: [verdict[name] for verdict in judged.verdicts if name in verdict] for name in names}
    length = sum(map(len, judged.samples.response_ids)) / len(judged.samples)
    return {**{name: 100 * sum(values) / len(values) for name, values in grades.items()}, "length": length}


def compare_in_turn(judged: Mapping[str, Judged]) -> dict[str, dict[str, Any]]:
    """Return each checkpoint's win rate over the first one and, as `over_previous`, over the one before it."""
    names = list(judged)
    rates = {}
    for previous, name in zip(names, names[1:], strict=False):
        scores = judged[name].deciding
        rates[name] = {
            "against": names[0],
            **win_rate(scores, judged[names[0]].deciding),
            "over_previous": {"against": previous, **win_rate(scores, judged[previous].deciding)},
        }
    return rates


def score_by_reward_models(
    config: EvaluateConfig, prompts: Sequence[Prompt], texts: Sequence[str]
) -> dict[str, list[float]]:
    """Return the scores of the responses under each reward model that the config names; every process calls it."""
    conversations = [
        (*prompt.prompt, Message("assistant", text or "(empty)")) for prompt, text in zip(prompts, texts, strict=True)
    ]
    models = {"helpfulness": config.helpfulness_reward_model, "safety": config.safety_reward_model}
    scores = {}
    for name, checkpoint in models.items():
        if checkpoint:
            scorer = RewardScorer.from_checkpoint(checkpoint, config.batch_tokens, config.dtype)
            scores[f"reward_{name}"] = scorer.score(conversations, True, "scoring").tolist()
    return scores


def _means(scores: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: sum(values) / len(values) for name, values in scores.items()}


def _respond(config: EvaluateConfig, checkpoint: str, prompts: Sequence[Prompt]) -> Samples:
    return sample(
        *load_chat_model(checkpoint, config.dtype),
        [prompt.prompt for prompt in prompts],
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        batch_tokens=config.batch_tokens,
        description="held-out prompts",
    )


def _rows(prompts: Sequence[Prompt], judged: Mapping[str, Judged], scored: Mapping[str, Mapping[str, list[float]]]):
    for index, prompt in enumerate(prompts):
        yield {
            **prompt.to_row(),
            "responses": {name: each.samples.texts[index] for name, each in judged.items()},
            "scores": {
                name: {**each.verdicts[index], **{model: values[index] for model, values in scored[name].items()}}
                for name, each in judged.items()
            },
        }
