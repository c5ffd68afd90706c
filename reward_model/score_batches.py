"""Which conversations a scorer computes together, so that little is computed twice and little is padding.

Conversations that begin alike, such as K samples of one prompt or both answers of a pair, are a group: one row, their
beginning computed once (`pair_batch`). Rows of like length make up a forward pass.
"""

from collections.abc import Sequence

from chat_model.generation import batches_by_length
from reward_model.pair_batch import common_prefix, row_length

_ALIKE = 0.9  # of the longest row of a pass; a shorter one begins a pass of its own
_LEAST_SAVED = 0.25  # of a conversation's tokens; a group's attention reaches over the whole row, which costs a little


def group_by_beginning(texts: Sequence[list[int]], most_tokens: int) -> list[list[int]]:
    """Return every index once, in groups whose texts begin alike.

    Args:
        texts: token ids, all different.
        most_tokens: of a group's row; a longer text is a group of its own.
    """
    groups: list[list[int]] = []
    prefix = 0  # tokens that all texts of the last group begin with
    for index in sorted(range(len(texts)), key=texts.__getitem__):
        if groups:
            joint = min(prefix, common_prefix([texts[groups[-1][-1]], texts[index]]))
            if _is_worth_joining([texts[member] for member in groups[-1]], prefix, texts[index], joint, most_tokens):
                groups[-1].append(index)
                prefix = joint
                continue
        groups.append([index])
        prefix = len(texts[index])
    return groups


def _is_worth_joining(
    group: Sequence[list[int]], prefix: int, text: list[int], joint_prefix: int, most_tokens: int
) -> bool:
    """Return whether one row of `group` and `text` is short enough, and shorter by a share of `text` than apart."""
    apart = row_length(group, prefix) + len(text)
    return row_length([*group, text], joint_prefix) <= min(most_tokens, apart - _LEAST_SAVED * len(text))


def batch_groups(
    texts: Sequence[Sequence[int]], groups: Sequence[list[int]], batch_tokens: int
) -> list[list[list[int]]]:
    """Return the groups in batches whose rows stay within `batch_tokens`, padding included, longest rows first.

    Groups of one text and groups of several are never in one batch.
    """
    batches = []
    for kind in ([group for group in groups if len(group) > 1], [group for group in groups if len(group) == 1]):
        members = [[texts[index] for index in group] for group in kind]
        lengths = [row_length(dialogues, common_prefix(dialogues)) for dialogues in members]
        batches += [[kind[row] for row in batch] for batch in batches_by_length(lengths, batch_tokens, alike=_ALIKE)]
    return batches
