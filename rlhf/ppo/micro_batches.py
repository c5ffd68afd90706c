"""The rows of a batch in groups of like length that fit a token budget.

Sorting by length means that little padding is computed, and memory depends on the budget rather than on a row count.
Every rank makes the same number of groups, because a sharded model runs each of them on all ranks together.
"""

from collections.abc import Sequence

from chat_model.generation import batches_by_length

_ALIKE = 0.7  # of the longest row of a group: a shorter one would be mostly padding


def split_by_tokens(lengths: Sequence[int], token_budget: int, at_least: int = 1) -> list[list[int]]:
    """Return row numbers in groups of at most `token_budget` padded tokens, the longest rows first.

    A row longer than the budget is a group of its own.

    Args:
        lengths: tokens of each row.
        token_budget: bound of rows times longest row of a group.
        at_least: number of groups that there must be; the largest are halved until there are.

    Raises:
        ValueError: fewer rows than groups.
    """
    if len(lengths) < at_least:
        raise ValueError(f"{len(lengths)} rows cannot fill {at_least} micro-batches")
    groups = batches_by_length(lengths, token_budget, alike=_ALIKE)
    while len(groups) < at_least:
        largest = max(range(len(groups)), key=lambda index: len(groups[index]))
        rows = groups[largest]
        groups[largest : largest + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return groups
