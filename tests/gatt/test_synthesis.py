"""Best of K, the draw of turns, and the training rows: where the instruction stands and which tokens train."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from chat_model.conversation import Conversation
from chat_model.template import render, render_prompt
from chat_model.tokenizer import train_tokenizer
from gatt.constraints import Combination, Constraint
from gatt.dialogue import Dialogue, Plan, Reply, context, hold
from gatt.synthesize.config import SynthesisConfig
from gatt.synthesize.selection import choose_best
from gatt.synthesize.stage import make_training_rows
from gatt.synthesize.training_rows import draw_turns, training_row, usable_turns

QUESTIONS = ("who are you?", "what is your hobby?", "who is it?")


@pytest.fixture
def plan(both) -> Plan:
    return Plan(QUESTIONS, both, "act as napoleon. you enjoy tennis.")


def choose(plan, candidates, score=None):
    return choose_best([plan], [context(plan, [], "every_turn")], [candidates], score)[0]


def test_the_first_that_follows_is_chosen_without_a_reward(plan):
    assert choose(plan, ["no", "", "napoleon", "napoleon!"]) == Reply("napoleon", True)


def test_the_highest_reward_among_those_that_follow_is_chosen(plan):
    def length(conversations):
        assert all(messages[0].content.startswith(plan.instruction) for messages in conversations)
        return [float(len(messages[-1].content)) for messages in conversations]

    chosen = choose(plan, ["the longest of all", "napoleon", "napoleon the great", "napoleon b."], length)
    assert chosen == Reply("napoleon the great", True, 18.0)


def test_scores_go_to_the_context_they_belong_to(plan, both):
    other = Plan(("who?",), both, "x")
    contexts = [context(plan, [], "every_turn"), context(other, [], "every_turn")]
    scored = choose_best(
        [plan, other],
        contexts,
        [["no", "napoleon 1"], ["napoleon 2", "napoleon 33"]],
        score=lambda conversations: [float(messages[-1].content.split()[1]) for messages in conversations],
    )
    assert [(reply.text, reply.score) for reply in scored] == [("napoleon 1", 1.0), ("napoleon 33", 33.0)]


def test_nothing_left_to_choose(plan):
    assert choose(plan, ["no", " ", ""], score=lambda conversations: 1 / 0) is None


def test_an_answer_that_was_not_put_to_the_test_is_kept(hobby):
    assert choose(Plan(("who are you?",), Combination((hobby,)), "x"), ["anything"]) == Reply("anything", None)


def sampled(plan, *verdicts) -> Dialogue:
    replies = tuple(Reply(f"reply {turn}", verdict) for turn, verdict in enumerate(verdicts, 1))
    return Dialogue(plan, replies, "complete")


def test_only_checked_turns_are_usable_unless_nothing_can_be_checked(plan, figure):
    assert usable_turns(sampled(plan, True, None, True)) == [1, 3]
    unchecked = Combination((Constraint("style", "brief", ("be brief.",), "brief."),))
    assert usable_turns(sampled(Plan(QUESTIONS, unchecked, "be brief."), None, None)) == [1, 2]


def test_turns_that_ask_for_what_is_left_out_are_not_usable(plan, figure, hobby):
    """A reply that names no hobby would teach that none is ever told; a kind that every question tests cannot be so."""
    asked = replace(plan, questions=("who are you?", "your hobby?", "and now?"), combination=Combination((figure,)))
    dialogue = sampled(asked, True, True, True)
    assert usable_turns(dialogue, [hobby]) == [1, 3]
    assert usable_turns(dialogue, [replace(hobby, ask=())]) == usable_turns(dialogue) == [1, 2, 3]
    assert usable_turns(dialogue, [replace(hobby, checker=None)]) == [1, 2, 3]


def test_turns_are_covered_evenly(rng):
    """40 dialogues of 20 turns and 40 that were lost after the fifth: four turns each, 320 in all."""
    usable = [list(range(1, 21)), list(range(1, 6))] * 40
    drawn = draw_turns(usable, 4, rng)
    assert all(
        len(set(turns)) == 4 and set(turns) <= set(offered) for turns, offered in zip(drawn, usable, strict=True)
    )
    occurred = Counter(turn for turns in drawn for turn in turns)
    assert {occurred[turn] for turn in range(1, 6)} == {32}
    assert all(occurred[turn] in (10, 11) for turn in range(6, 21))


def test_late_turns_occur_as_often_as_they_are_weighted(rng):
    """Late turns are the hardest to hold, and dialogues that reach them the fewest."""
    drawn = draw_turns([list(range(1, 21))] * 200, 5, rng, late_turn_weight=3)
    occurred = Counter(turn for turns in drawn for turn in turns)
    assert sum(occurred.values()) == 1000
    for turn in range(1, 21):
        assert occurred[turn] == pytest.approx(1000 * (1 + 2 * (turn - 1) / 19) / 40, abs=2)


def test_the_draw_of_turns_is_seeded_and_varies():
    usable = [list(range(1, 21))] * 6
    first, again, other = (draw_turns(usable, 3, random.Random(seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_fewer_usable_turns_than_asked_for_are_all_taken(rng):
    assert draw_turns([[2, 5], []], 4, rng) == [[2, 5], []]


def test_the_instruction_is_dropped_from_every_turn_but_the_first(plan):
    dialogue = sampled(plan, True, True, True)
    as_prefix = training_row(dialogue, 3, "prefix")["messages"]
    as_system = training_row(dialogue, 3, "system")["messages"]
    assert as_system[0] == {"role": "system", "content": plan.instruction}
    assert as_prefix[0]["content"] == f"{plan.instruction} {QUESTIONS[0]}"
    assert [row["content"] for row in as_system[1:] if row["role"] == "user"] == list(QUESTIONS)
    assert as_prefix[1:] == as_system[2:]
    assert [row.get("train") for row in as_prefix] == [None, False, None, False, None, True]


@pytest.mark.parametrize("instruction_as", ["system", "prefix"])
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_exactly_the_tokens_of_the_last_reply_train(plan, instruction_as, turn):
    row = training_row(sampled(plan, True, True, True), turn, instruction_as)
    tokenizer = train_tokenizer([plan.instruction, *QUESTIONS], vocab_size=300)
    messages = Conversation.from_row(row).messages
    rendered, prompt = render(tokenizer, messages), render_prompt(tokenizer, messages[:-1])
    num_trained = len(rendered.token_ids) - len(prompt)
    assert rendered.token_ids[: len(prompt)] == prompt
    assert rendered.loss_mask == [False] * len(prompt) + [True] * num_trained
    assert tokenizer.decode(rendered.token_ids[len(prompt) : -1]).strip() == f"reply {turn}"
    assert rendered.token_ids[-1] == tokenizer.eos_token_id


def config(**changes) -> SynthesisConfig:
    return SynthesisConfig("models/newest", "c.yaml", dialogues="d.jsonl", combinations="k.jsonl", **changes)


def test_rows_carry_their_provenance_in_dialogue_order(plan):
    dialogues = [sampled(plan, True, True), sampled(plan, None), sampled(plan, True)]
    rows = make_training_rows(dialogues, config(prefixes_per_dialogue=2, temperature=0.7), "system")
    assert [(row["dialogue"], row["turn"]) for row in rows] == [(0, 1), (0, 2), (2, 1)]
    first = {name: value for name, value in rows[0].items() if name != "messages"}
    assert first == {
        "instruction": plan.instruction,
        "constraints": [{"kind": "figure", "value": "napoleon"}, {"kind": "hobby", "value": "tennis"}],
        "turn": 1,
        "score": None,
        "dialogue": 0,
        "temperature": 0.7,
        "model": "models/newest",
    }


def test_a_model_that_forgets_gives_prefixes_up_to_where_it_lost(plan):
    """A scripted model that follows in turns 1 and 2 only."""

    def forgetful(contexts):
        turn = sum(message.role == "user" for message in contexts[0])
        return ["i am napoleon and love tennis." if turn < 3 else "hello."] * 2 * len(contexts)

    dialogues = hold([plan] * 3, "every_turn", forgetful, choose_best)
    assert [each.ended for each in dialogues] == ["lost"] * 3
    rows = make_training_rows(dialogues, config(prefixes_per_dialogue=5), "system")
    assert Counter(row["turn"] for row in rows) == {1: 3, 2: 3}


def test_the_ablation_trains_the_earlier_replies_that_follow_and_changes_nothing_else(plan):
    """Perturbing an earlier reply must be free under "last", and cost under "every": the masks differ, the text not."""
    dialogue = sampled(plan, True, None, True)
    last, every = (training_row(dialogue, 3, "prefix", train_on) for train_on in ("last", "every"))
    assert [row.get("train") for row in last["messages"]] == [None, False, None, False, None, True]
    assert [row.get("train") for row in every["messages"]] == [None, True, None, False, None, True]
    texts = [[row["content"] for row in each["messages"]] for each in (last, every)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", ["num_samples", "max_turns", "prefixes_per_dialogue", "num_dialogues"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: found 0"):
        config(**{name: 0})
