"""The stage: answer adversarial prompts plainly and under a preprompt, keep the safer answers, drop the preprompt."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from chat_model.conversation import Prompt, fault
from chat_model.errors import InputError
from chat_model.rows import read_rows, write_rows
from chat_model.stage import StageRun
from gatt.context_distillation.answers import Answer, Outcome, score_answers, summary, summary_by_category
from gatt.context_distillation.config import ContextDistillationConfig
from gatt.context_distillation.preprompts import Preprompts
from gatt.reward import load_score
from gatt.sampler import ModelSampler
from gatt.system_role import add_system_text, place_instruction

Risky = tuple[Prompt, str | None, str]
"""A prompt, its risk category, and the preprompt drawn for it."""


def distill(run: StageRun, config: ContextDistillationConfig) -> None:
    """Write `conversations.jsonl` (what `sft` trains on) and `answers.jsonl` (all answers, and what became of each).

    Raises:
        InputError: see `read_risky`; also where no answer is kept.
    """
    risky = read_risky(run, config)
    candidates = _sample(run, config, risky)
    score = load_score(config.safety_reward_model, batch_tokens=config.batch_tokens, dtype=config.dtype)
    answers = score_answers(candidates, score)
    outcomes = [answer.outcome(config.targeted) for answer in answers]
    _report(run, config, answers, Counter(outcomes))
    if run.is_main:
        _write(run, config, answers, outcomes)


def _write(
    run: StageRun, config: ContextDistillationConfig, answers: Sequence[Answer], outcomes: Sequence[Outcome]
) -> None:
    source = {"temperature": config.temperature, "model": config.model_name_or_path}
    rows = [{**answer.to_row(), **source} for answer in answers]
    kept = [row for row, outcome in zip(rows, outcomes, strict=True) if outcome == "kept"]
    write_rows(run.folder / "conversations.jsonl", kept)
    told = zip(answers, outcomes, rows, strict=True)
    write_rows(
        run.folder / "answers.jsonl",
        (
            {**row, "messages": row["messages"][:-1], "answer": each.distilled, "outcome": why}
            for each, why, row in told
        ),
    )


def read_risky(run: StageRun, config: ContextDistillationConfig) -> list[Risky]:
    """Return the prompts to answer, each with a preprompt drawn for it, and count those left out.

    Raises:
        InputError: a bad row, an unknown risk category, or no prompt left.
    """
    preprompts, rng = Preprompts.read(config.preprompts), random.Random(f"{config.seed} preprompts")
    risky: list[Risky] = []
    num_read = 0
    for where, row in read_rows(config.prompts):
        if config.num_prompts and len(risky) == config.num_prompts:
            break
        num_read += 1
        prompt, category = Prompt.from_row(row, where), row.get("category")
        if category is not None and not isinstance(category, str):
            raise fault(where, "category", category, "text or nothing")
        if prompt.is_safety or not config.safety_prompts_only:
            risky.append((prompt, category, preprompts.draw(category, where, rng)))
    if not risky:
        raise InputError(
            f"{config.prompts}: none of {num_read} prompts is tagged is_safety; "
            "expected some, or safety_prompts_only: false"
        )
    run.count(prompts_read=num_read, prompts_not_about_safety=num_read - len(risky))
    return risky


def _sample(run: StageRun, config: ContextDistillationConfig, risky: Sequence[Risky]) -> list[list[Answer]]:
    """Return K candidates for every prompt, each beside the same plain answer."""
    settings: dict[str, Any] = {
        name: getattr(config, name) for name in ("temperature", "max_new_tokens", "batch_tokens", "engine")
    }
    plain = ModelSampler.from_checkpoint(config.model_name_or_path, config.dtype, seed=config.seed, **settings)
    settings |= {"num_samples": config.num_samples, "keep_cut_off": False}
    under = ModelSampler(plain.model, plain.tokenizer, seed=config.seed, **settings)
    as_system = place_instruction(plain.tokenizer, "system") == "system"
    plain_texts = plain([list(prompt.prompt) for prompt, _, _ in risky])
    texts = under([add_system_text(prompt.prompt, preprompt, as_system=as_system) for prompt, _, preprompt in risky])
    run.count(answers_cut_off=under.num_cut_off, plain_answers_cut_off=plain.num_cut_off)
    return [
        [
            Answer(prompt.prompt, category, preprompt, plain_texts[index], text)
            for text in texts[index * config.num_samples : (index + 1) * config.num_samples]
        ]
        for index, (prompt, category, preprompt) in enumerate(risky)
    ]


def _report(
    run: StageRun, config: ContextDistillationConfig, answers: Sequence[Answer], outcomes: Counter[Outcome]
) -> None:
    if not outcomes["kept"]:
        raise InputError(
            f"{config.prompts}: no answer to {len(answers)} prompts is kept ({dict(outcomes)}); expected some: try "
            "other preprompts, or more num_samples or max_new_tokens"
        )
    run.count(answers_kept=outcomes["kept"])
    run.count(answers_not_preferred=outcomes["not_preferred"], prompts_without_answer=outcomes["no_answer"])
    run.record(**summary(answers, config.targeted), by_risk_category=summary_by_category(answers, config.targeted))
