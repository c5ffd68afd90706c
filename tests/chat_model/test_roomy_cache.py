"""The cache with room holds what transformers' own holds, and moves it only when rows or room change."""

import torch
from transformers.cache_utils import DynamicLayer

from chat_model.roomy_cache import RoomyLayer

ROWS, HEADS, SIZE = 4, 2, 3


def states(generator: torch.Generator, rows: int, new: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random keys and values of `new` tokens; values of another size than keys, as some models have."""
    keys, values = (torch.randn(rows, HEADS, new, size, generator=generator) for size in (SIZE, SIZE + 1))
    return keys, values


def test_it_holds_what_the_growing_cache_holds():
    """A token written beside its place, into a row that has left, or into a copy, differs from concatenation."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs, rows = RoomyLayer(), DynamicLayer(), ROWS
    for new in (7, 1, 1, 40, *[1] * 40, 2):
        given = states(generator, rows, new)
        for found, expected in zip(ours.update(*given), theirs.update(*given), strict=True):
            assert torch.equal(found, expected)
        if new == 1:
            kept = torch.randint(0, rows, (rows,), generator=generator)
            ours.reorder_cache(kept)
            theirs.reorder_cache(kept)
    assert ours.get_seq_length() == theirs.get_seq_length() == 91


def test_a_token_is_written_where_there_is_room():
    """Otherwise all that is held is copied for each token."""
    generator, layer = torch.Generator().manual_seed(0), RoomyLayer()
    layer.update(*states(generator, ROWS, 160))
    places = set()
    for _ in range(10):
        keys, values = layer.update(*states(generator, ROWS, 1))
        places.add((keys.data_ptr(), values.data_ptr()))
    assert len(places) == 1


def test_rows_that_were_taken_over_share_nothing_with_those_they_come_from():
    generator, layer = torch.Generator().manual_seed(0), RoomyLayer()
    layer.update(*states(generator, 1, 3))
    layer.reorder_cache(torch.tensor([0, 0]))
    keys, _ = layer.update(*states(generator, 2, 1))
    assert torch.equal(keys[0, :, :3], keys[1, :, :3]) and not torch.equal(keys[0, :, 3], keys[1, :, 3])
