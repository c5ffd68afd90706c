"""The pool of best samples. From V4 on the paper kept those of *all* earlier rounds, after some skills had regressed.

Earlier winners compete with this round's samples under this round's reward models (section 3.2.3). Per prompt the best
few stay, near-duplicates as one, and every candidate that does not stay is counted with the first reason against it.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, get_args

from rlhf.rejection_sampling.candidates import Candidate, prompt_key

Reason = Literal["empty", "cut_off", "below_min_reward", "outranked", "near_duplicate"]


@dataclass(frozen=True)
class PoolRules:
    """What may stay in the pool."""

    per_prompt: int = 1  # how many
    min_reward: float | None = None  # raw reward
    max_similarity: float = 1.0  # of the words of two responses, in (0, 1]; from here on they count as one
    keep_cut_off: bool = True


def best_per_prompt(
    candidates: Sequence[Candidate], rules: PoolRules, stand_ins: Sequence[Candidate] = ()
) -> tuple[list[Candidate], dict[str, int]]:
    """Return the candidates of highest reward for each prompt, best first, and how many were dropped by reason.

    Prompts come in order of first appearance; of equal rewards the earlier candidate goes first. `stand_ins` rank
    behind every candidate of their prompt, whatever their reward.
    """
    by_prompt: dict[str, list[Candidate]] = {}
    for candidate in [*_by_reward(candidates), *_by_reward(stand_ins)]:
        by_prompt.setdefault(prompt_key(candidate.prompt), []).append(candidate)
    order = dict.fromkeys(prompt_key(candidate.prompt) for candidate in [*candidates, *stand_ins])
    pool: list[Candidate] = []
    dropped: Counter[str] = Counter(dict.fromkeys(get_args(Reason), 0))
    for key in order:
        pool += _best(by_prompt[key], rules, dropped)
    return pool, {f"dropped_{reason}": count for reason, count in dropped.items()}


def first_per_prompt(pool: Sequence[Candidate], keep: int) -> list[Candidate]:
    """Return the first `keep` candidates of every prompt, in the order given."""
    seen: Counter[str] = Counter()
    kept = []
    for candidate in pool:
        key = prompt_key(candidate.prompt)
        seen[key] += 1
        if seen[key] <= keep:
            kept.append(candidate)
    return kept


def are_near_duplicates(one: str, other: str, max_similarity: float) -> bool:
    """Return whether two texts have at least this share of words in common, in the same order (Ratcliff–Obershelp).

    Case, punctuation and white space do not count.
    """
    if one == other:
        return True
    matcher = SequenceMatcher(None, _words(one), _words(other), autojunk=False)
    bounds_and_ratio = (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)  # cheap upper bounds first
    return all(share() >= max_similarity for share in bounds_and_ratio)


def _by_reward(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda candidate: -candidate.reward)


def _best(ranked: Sequence[Candidate], rules: PoolRules, dropped: Counter[str]) -> list[Candidate]:
    kept: list[Candidate] = []
    for candidate in ranked:
        reason = _reason_to_drop(candidate, kept, rules)
        if reason is None:
            kept.append(candidate)
        else:
            dropped[reason] += 1
    return kept


def _reason_to_drop(candidate: Candidate, kept: Sequence[Candidate], rules: PoolRules) -> Reason | None:
    if not candidate.response:
        return "empty"
    if candidate.is_cut_off and not rules.keep_cut_off:
        return "cut_off"
    if rules.min_reward is not None and candidate.reward < rules.min_reward:
        return "below_min_reward"
    if len(kept) == rules.per_prompt:
        return "outranked"
    texts = (better.response for better in kept)
    is_duplicate = any(are_near_duplicates(candidate.response, text, rules.max_similarity) for text in texts)
    return "near_duplicate" if is_duplicate else None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold()) or [text]
