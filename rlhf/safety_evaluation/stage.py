"""The stage: every checkpoint answers the same prompts, verdicts become rates, `safety.json` and plots."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chat_model.dotted import resolve
from chat_model.errors import InputError
from chat_model.generation import Samples, sample
from chat_model.loading import load_chat_model
from chat_model.processes import from_main_process
from chat_model.rows import write_json, write_rows
from chat_model.stage import StageRun
from rlhf.preferences.judge.config import JudgeConfig
from rlhf.safety_evaluation.config import SafetyEvaluationConfig
from rlhf.safety_evaluation.prompts import AdversarialPrompt, read_adversarial_prompts
from rlhf.safety_evaluation.rates import measure
from rlhf.safety_evaluation.verdicts import Case, Verdict, by_reward_model, by_rule

SAFETY_FILE = "safety.json"


@dataclass(frozen=True)
class Outcome:
    """Verdicts on a checkpoint's responses, and what their source told besides: counts, cost, P(safe)."""

    verdicts: list[Verdict]
    counts: dict[str, int] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    p_safe: list[float] | None = None


def evaluate_safety(run: StageRun, config: SafetyEvaluationConfig, judge_config: JudgeConfig) -> None:
    """Record the rates of every checkpoint; write `safety.json`, `responses.jsonl` with every response, and plots.

    Raises:
        InputError: a bad option, prompt, rule or checkpoint, or a judge that does not answer.
    """
    find_verdicts = _source(run, config, judge_config)
    selection = (config.categories, config.styles, config.num_prompts, config.seed)
    prompts = read_adversarial_prompts(config.prompts, *selection)
    samples = _answer(config, prompts)
    outcomes = {name: find_verdicts(_cases(prompts, each)) for name, each in samples.items()}
    rates = {name: _rates(prompts, samples[name], outcome) for name, outcome in outcomes.items()}
    run.count(prompts=len(prompts), borderline_prompts=sum(prompt.borderline for prompt in prompts))
    run.record(checkpoints=rates)
    if run.is_main:
        write_json(run.folder / SAFETY_FILE, {**run.counts, **run.metrics})
        write_rows(run.folder / "responses.jsonl", _rows(prompts, samples, outcomes))
    if run.is_main and config.plots:
        from rlhf.safety_evaluation.plots import draw_all

        draw_all(rates, run.folder)


def _answer(config: SafetyEvaluationConfig, prompts: Sequence[AdversarialPrompt]) -> dict[str, Samples]:
    """Return every checkpoint's responses, by its name."""
    names = ("temperature", "max_new_tokens", "batch_tokens", "seed", "engine")
    sampling = {name: getattr(config, name) for name in names}
    messages = [prompt.prompt for prompt in prompts]
    return {
        name: sample(*load_chat_model(checkpoint), messages, **sampling, description=f"answers of {name}")
        for name, checkpoint in zip(config.names, config.checkpoints, strict=True)
    }


def _source(
    run: StageRun, config: SafetyEvaluationConfig, judge_config: JudgeConfig
) -> Callable[[Sequence[Case]], Outcome]:
    """Return the one source of verdicts that is configured. Raises InputError: none, several, or one that fails."""
    given = {name: getattr(config, name) for name in ("rule", "safety_reward_model")}
    named = [name for name, value in {**given, "judge_model": judge_config.judge_model}.items() if value]
    if len(named) != 1:
        raise InputError(
            f"found {' and '.join(named) or 'neither rule, safety_reward_model nor judge_model'}; expected one of them"
        )
    match named[0]:
        case "rule":
            rule = resolve(str(config.rule))
            return lambda cases: Outcome(by_rule(cases, rule, str(config.rule)))
        case "safety_reward_model":
            return lambda cases: _by_reward_model(config, cases)
    judge_config.check()
    return lambda cases: from_main_process(lambda: _by_judge(run, judge_config, cases))


def _by_reward_model(config: SafetyEvaluationConfig, cases: Sequence[Case]) -> Outcome:
    checkpoint = str(config.safety_reward_model)
    verdicts, p_safe = by_reward_model(cases, checkpoint, config.threshold, config.batch_tokens)
    return Outcome(verdicts, p_safe=p_safe)


def _by_judge(run: StageRun, config: JudgeConfig, cases: Sequence[Case]) -> Outcome:
    from rlhf.preferences.judge.endpoint import JudgeFailed
    from rlhf.safety_evaluation.judging import by_judge

    try:
        verdicts, counts, report = by_judge(cases, config, run.beside("judge_answers.jsonl"))
    except JudgeFailed as failure:
        raise InputError(str(failure)) from failure
    return Outcome(verdicts, counts, {"judge": report})


def _cases(prompts: Sequence[AdversarialPrompt], samples: Samples) -> list[Case]:
    return [Case(prompt, text) for prompt, text in zip(prompts, samples.texts, strict=True)]


def _rates(prompts: Sequence[AdversarialPrompt], samples: Samples, outcome: Outcome) -> dict[str, Any]:
    cut_off = sum(reason == "length" for reason in samples.finish_reasons)
    return {**measure(prompts, outcome.verdicts), "cut_off": cut_off, **outcome.counts, **outcome.report}


def _rows(
    prompts: Sequence[AdversarialPrompt], samples: Mapping[str, Samples], outcomes: Mapping[str, Outcome]
) -> Iterator[dict[str, Any]]:
    for index, prompt in enumerate(prompts):
        p_safe = {name: each.p_safe[index] for name, each in outcomes.items() if each.p_safe}
        yield {
            **prompt.to_row(),
            "responses": {name: each.texts[index] for name, each in samples.items()},
            "verdicts": {name: each.verdicts[index] for name, each in outcomes.items()},
            **({"p_safe": p_safe} if p_safe else {}),
        }
