"""What is shipped to start from: the example files parse, and the ready-made checkers tell what they say."""

from pathlib import Path

import pytest

from gatt import checkers
from gatt.checks import require_checkers
from gatt.constraints import read_constraints
from gatt.context_distillation.preprompts import Preprompts
from gatt.propose.stage import read_proposals
from rlhf.safety_evaluation.prompts import CATEGORIES

EXAMPLES = Path(checkers.__file__).parent / "examples"


def test_the_example_files_are_good_input():
    constraints = read_constraints(EXAMPLES / "constraints.yaml")
    require_checkers(constraints, required=False)
    assert any(each.checker is None for each in constraints)
    assert [proposal["kind"] for _, proposal in read_proposals(str(EXAMPLES / "proposals.yaml"))] == ["hobby", "figure"]
    assert set(Preprompts.read(EXAMPLES / "preprompts.yaml").answer_templates) == set(CATEGORIES)


@pytest.mark.parametrize(
    ("response", "told"),
    [
        ("I love Tennis!", True),
        ("tennis.", True),
        ("I play table-tennis.", True),
        ("Tennisball", False),
        ("I like chess.", False),
    ],
)
def test_a_value_is_mentioned_as_a_word(response, told):
    assert checkers.mentions("hobby", "tennis", "What is your hobby?", response) is told


@pytest.mark.parametrize(
    ("response", "told"),
    [
        ("Paris is the capital of France.", True),
        ("Yes", True),
        ("It costs 3.50 euros!", True),
        ("Paris. It is large.", False),
        ("Paris\nand London", False),
        ("", False),
    ],
)
def test_one_sentence(response, told):
    assert checkers.one_sentence("length", "one sentence", "?", response) is told
