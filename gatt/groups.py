"""Many dialogues in groups: those of a group advance in step on one process, which reads each on from where it was.

What belongs to a group, and its seeds, hang on the order of the plans alone. The replies are therefore the same on any
number of processes, each of which (or of their replicas, where a model is divided) holds every so-many-th group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chat_model.processes import from_every_process
from chat_model.tensor_parallel import replica_of
from gatt.dialogue import Dialogue, Plan
from gatt.sampler import ModelSampler

HoldGroup = Callable[[Sequence[Plan]], list[Dialogue]]


@dataclass(frozen=True)
class Held:
    """Dialogues in plan order, and how many replies were cut off in them."""

    dialogues: list[Dialogue]
    num_cut_off: int


def hold_in_groups(
    plans: Sequence[Plan],
    sampler: ModelSampler,
    hold_group: HoldGroup,
    *,
    size: int,
    calls_a_group: int,
    first_group: int = 0,
) -> Held:
    """Hold `plans` in groups of `size` and give every process all dialogues; an error of one is raised on all.

    Args:
        sampler: the one that `hold_group` samples with, at most `calls_a_group` times; it samples for one process.
        first_group: the number of the first group here, of which its seeds hang.
    """
    assert not sampler.across_processes
    starts = range(0, len(plans), size)

    def hold_own() -> dict[int, Held]:
        replica, own = replica_of(sampler.model), {}
        for number in range(replica.number, len(starts), replica.count):
            sampler.begin((first_group + number) * calls_a_group)
            dialogues = hold_group(plans[starts[number] : starts[number] + size])
            own[number] = Held(dialogues, sampler.num_cut_off)
        return own if replica.leads else {}

    held = {number: group for own in from_every_process(hold_own) for number, group in own.items()}
    groups = [held[number] for number in sorted(held)]
    dialogues = [dialogue for group in groups for dialogue in group.dialogues]
    return Held(dialogues, sum(group.num_cut_off for group in groups))
