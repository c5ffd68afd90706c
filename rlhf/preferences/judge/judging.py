"""All pairs put to the judge: both orders of each, several at once, every answer kept, none asked for twice.

A judge that looks at the order rather than at the responses contradicts itself when the order changes. So every pair is
asked both ways, the two verdicts are combined by their mean degree, and how often they agree is reported.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from chat_model.errors import InputError
from chat_model.intervals import wilson_interval
from rlhf.preferences.agreement import cohen_kappa
from rlhf.preferences.journal import Journal
from rlhf.preferences.judge.config import JudgeConfig
from rlhf.preferences.judge.endpoint import Endpoint, JudgeFailed, JudgeQuestion
from rlhf.preferences.judge.question import Question
from rlhf.preferences.response_pair import ResponsePair
from rlhf.preferences.verdict import Verdict, combine


@dataclass
class Judgement:
    """What became of the pairs: a verdict each (None: none to be had), and the report for `run.json`."""

    verdicts: list[Verdict | None] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


def judge_pairs(pairs: Sequence[ResponsePair], config: JudgeConfig, answers_file: Path) -> Judgement:
    """Ask the judge about every pair in both orders and return what it said.

    Answers are appended to `answers_file`; a question that has its answer there is not asked again.

    Raises:
        JudgeFailed: more than `judge_max_failures` questions got no answer, or the first refused key, model or address.
    """
    guidelines = read_guidelines(config.judge_guidelines)
    questions = [Question(pair, exchanged, guidelines) for pair in pairs for exchanged in (False, True)]
    answered = list(zip(questions, ask(questions, config, answers_file), strict=True))
    return _conclude(list(zip(answered[::2], answered[1::2], strict=True)), config)


def ask(questions: Sequence[JudgeQuestion], config: JudgeConfig, answers_file: Path) -> list[dict[str, Any] | None]:
    """Return the endpoint's row of answer to each question (see `Endpoint.ask`), None where it could not be reached.

    Answers are appended to `answers_file`; a question that has its answer there is not asked again.

    Raises:
        JudgeFailed: more than `judge_max_failures` questions got no answer, or the first refused key, model or address.
    """
    endpoint, journal = Endpoint(config), Journal(answers_file)
    keys = [endpoint.key_of(question) for question in questions]
    known = {row["question"] for row in journal.rows}
    missing = {key: question for key, question in zip(keys, questions, strict=True) if key not in known}
    asyncio.run(_ask_all(list(missing.values()), len(set(keys)), endpoint, journal))
    answers = {row["question"]: row for row in journal.rows}
    return [answers.get(key) for key in keys]


def read_guidelines(path: str | None) -> str | None:
    """Return the text of a file of guidelines; None where none is named. Raises InputError: it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else None
    except OSError as error:
        raise InputError(f"judge_guidelines: {path} cannot be read ({error.strerror})") from error


async def _ask_all(questions: Sequence[JudgeQuestion], total: int, endpoint: Endpoint, journal: Journal) -> None:
    """Put `questions` to the endpoint, `judge_concurrency` at a time, and keep what it answers."""
    waiting, failures = iter(questions), []
    with tqdm(total=total, initial=total - len(questions), desc=f"judge {endpoint.name}", leave=False) as progress:

        async def work() -> None:
            for question in waiting:
                try:
                    journal.append(await endpoint.ask(question))
                except JudgeFailed as failure:
                    failures.append(failure)
                    _check_failures(failures, endpoint.config.judge_max_failures)
                progress.update()

        try:
            await asyncio.gather(*(work() for _ in range(endpoint.config.judge_concurrency)))
        finally:
            await endpoint.close()


def _check_failures(failures: Sequence[JudgeFailed], most: int) -> None:
    last = failures[-1]
    if last.is_final or len(failures) > most:
        raise JudgeFailed(f"{last}; answers so far are kept, the same command goes on from there") from last


def _conclude(questions: Sequence[Sequence[tuple[Question, dict[str, Any] | None]]], config: JudgeConfig) -> Judgement:
    """Return the combined verdicts; a pair with an order that was not answered has none and is counted by reason."""
    counts = {"judge_refused": 0, "judge_unreadable": 0, "judge_unreachable": 0}
    verdicts: list[Verdict | None] = []
    in_both: list[tuple[Verdict, Verdict]] = []
    for both in questions:
        outcomes = [row["outcome"] if row else "unreachable" for _, row in both]
        lacking = [outcome for outcome in outcomes if outcome != "answered"]
        if lacking:
            counts[f"judge_{lacking[0]}"] += 1
            verdicts.append(None)
        else:
            first, second = (question.read(row["reply"], str(config.judge_model)) for question, row in both if row)
            in_both.append((first, second))
            verdicts.append(combine([first, second]))
    rows = [row for both in questions for _, row in both]
    return Judgement(verdicts, counts, {**usage(rows, config), **order_report(in_both)})


def order_report(in_both: Sequence[tuple[Verdict, Verdict]]) -> dict[str, Any]:
    """Return how far a judge's verdicts in the two orders agree, from (as it stands, exchanged) for each pair.

    ``agreement_between_orders`` is the share of pairs with the same winner in both, with its 95 % interval and Cohen's
    kappa; ``first_shown_preferred`` the share of one-sided verdicts for the response shown first (0.5: no bias).
    """
    winners = [(first.winner, second.winner) for first, second in in_both]
    same = sum(first == second for first, second in winners)
    decided = [winner == shown_first for pair in winners
               for winner, shown_first in zip(pair, "ab", strict=True) if winner != "tie"]  # fmt: skip
    low, high = wilson_interval(same, len(winners))
    return {
        "pairs_in_both_orders": len(winners),
        "agreement_between_orders": {"share": _share(same, len(winners)), "low": low, "high": high},
        "kappa_between_orders": cohen_kappa(*zip(*winners, strict=True)) if winners else None,
        "first_shown_preferred": _share(sum(decided), len(decided)),
        "ties": sum(combine(both).winner == "tie" for both in in_both),
    }


def usage(rows: Sequence[dict[str, Any] | None], config: JudgeConfig) -> dict[str, Any]:
    """Return requests, tokens and cost of the answers `rows` (None: no answer), those of earlier runs included."""
    answers = {row["question"]: row for row in rows if row}.values()
    spent = {name: sum(row[name] for row in answers) for name in ("requests", "prompt_tokens", "completion_tokens")}
    prices = (config.judge_prompt_price, config.judge_completion_price)
    cost = None
    if None not in prices:
        cost = (spent["prompt_tokens"] * prices[0] + spent["completion_tokens"] * prices[1]) / 1e6
    return {"model": config.judge_model, "questions": len(answers), **spent, "cost": cost}


def _share(count: int, total: int) -> float | None:
    return count / total if total else None
