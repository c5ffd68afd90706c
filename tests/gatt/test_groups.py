"""Groups of dialogues: their order and seeds, and that what a process holds does not hang on how many there are."""

import types

import pytest

from chat_model import processes, tensor_parallel
from gatt.dialogue import Dialogue, Plan
from gatt.groups import hold_in_groups


class Sampler:
    """Notes the number from which each group's calls are counted; every group cuts off as many replies as it has."""

    across_processes = False
    model = None  # held whole by each process

    def __init__(self):
        self.began = []

    def begin(self, num_calls):
        self.began.append(num_calls)


@pytest.fixture
def plans(both) -> list[Plan]:
    return [Plan((f"question {number}",), both, "x.") for number in range(7)]


def hold(plans, sampler, **limits):
    def hold_group(group):
        sampler.num_cut_off = len(group)
        return [Dialogue(plan, (), "complete") for plan in group]

    return hold_in_groups(plans, sampler, hold_group, size=3, calls_a_group=10, **limits)


def test_every_plan_is_held_in_order_and_every_group_has_seeds_of_its_own(plans):
    sampler = Sampler()
    held = hold(plans, sampler, first_group=4)
    assert [dialogue.plan for dialogue in held.dialogues] == plans
    assert sampler.began == [40, 50, 60]
    assert held.num_cut_off == 7


def test_two_processes_hold_each_group_once_with_the_seeds_of_one(plans, monkeypatch):
    """Seeds counted by process, or groups cut by process, would give other replies on another number of them."""
    gathered, began = [], []
    monkeypatch.setattr(processes, "gather_object", lambda own: gathered.extend(own) or gathered)
    for rank in (0, 1):
        state = types.SimpleNamespace(num_processes=2, process_index=rank)
        for module in (processes, tensor_parallel):
            monkeypatch.setattr(module, "process_state", lambda state=state: state)
        sampler = Sampler()
        held = hold(plans, sampler)
        began.append(sampler.began)
    assert began == [[0, 20], [10]]
    assert [dialogue.plan for dialogue in held.dialogues] == plans and held.num_cut_off == 7
