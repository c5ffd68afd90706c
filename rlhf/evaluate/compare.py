"""The stage that compares checkpoints on held-out prompts, by a judge and by the reward models (Figure 11)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chat_model.conversation import Message, Prompt, to_dicts
from chat_model.dotted import resolve
from chat_model.errors import InputError
from chat_model.generation import Samples
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from reward_model.scoring import RewardScorer
from rlhf.evaluate.win_rate import win_rate
from rlhf.prompt_sets import draw_prompts
from rlhf.responses import respond

# (prompt, response) -> {"helpfulness": 0.85, …} or {"safety": 1.0, "unsafe": 0.0}; the first value is the one that wins
Judge = Callable[[list[dict[str, Any]], str], Mapping[str, float]]


@dataclass
class EvaluateConfig:
    """Which checkpoints, on which prompts, judged by whom."""

    checkpoints: list[str] = field(
        metadata={"help": "Chat checkpoints; the first is the one the others are held against."}
    )
    names: list[str] = field(metadata={"help": "A name for each checkpoint, in the same order."})
    prompts: str = field(metadata={"help": "Held-out prompts with `prompt` and `is_safety`."})
    judge: str = field(metadata={"help": "Dotted name of the function that grades a response."})
    output_dir: str = field(metadata={"help": "Folder to write to."})
    helpfulness_reward_model: str | None = field(default=None, metadata={"help": "Also score by this reward model."})
    safety_reward_model: str | None = field(default=None, metadata={"help": "Also score by this reward model."})
    num_prompts: int | None = field(default=None, metadata={"help": "Prompts drawn; default: all."})
    temperature: float = field(default=1.0, metadata={"help": "Of the sampling, the same for every checkpoint."})
    max_new_tokens: int = field(default=512, metadata={"help": "Bound of a response, in tokens."})
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
    """Record scores per checkpoint and win rates, and write `responses.jsonl` with every response side by side."""
    if len(config.names) != len(config.checkpoints) or len(set(config.names)) != len(config.names):
        raise InputError(f"names: found {config.names}; expected a different name for each of the checkpoints")
    prompts, judge = draw_prompts(config.prompts, config.num_prompts, config.seed), resolve(config.judge)
    judged = {
        name: _judge(judge, prompts, _respond(config, checkpoint, prompts))
        for name, checkpoint in zip(config.names, config.checkpoints, strict=True)
    }
    scored = {name: score_by_reward_models(config, prompts, each.samples.texts) for name, each in judged.items()}
    if run.is_main:
        run.record(
            checkpoints={name: {**summarize(each), **_means(scored[name])} for name, each in judged.items()},
            win_rates=compare_in_turn(judged),
        )
        run.count(prompts=len(prompts), safety_prompts=sum(prompt.is_safety for prompt in prompts))
        write_rows(run.folder / "responses.jsonl", _rows(prompts, judged, scored))


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
            scorer = RewardScorer.from_checkpoint(checkpoint, config.batch_tokens)
            scores[f"reward_{name}"] = scorer.score(conversations, True, "scoring").tolist()
    return scores


def _means(scores: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: sum(values) / len(values) for name, values in scores.items()}


def _respond(config: EvaluateConfig, checkpoint: str, prompts: Sequence[Prompt]) -> Samples:
    return respond(
        checkpoint,
        [prompt.prompt for prompt in prompts],
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        batch_tokens=config.batch_tokens,
        seed=config.seed,
        description="held-out prompts",
    )


def _judge(judge: Judge, prompts: Sequence[Prompt], samples: Samples) -> Judged:
    pairs = zip(prompts, samples.texts, strict=True)
    return Judged(samples, [dict(judge(to_dicts(prompt.prompt), text)) for prompt, text in pairs])


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
