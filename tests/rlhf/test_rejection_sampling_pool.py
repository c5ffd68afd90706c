"""The pool: who stays, who is dropped and why, and what a remembered row must hold."""

import pytest

from chat_model.conversation import Conversation, Message, Prompt
from chat_model.errors import InputError
from chat_model.rows import write_rows
from chat_model.template import render
from rlhf.rejection_sampling.candidates import Candidate, read_pool
from rlhf.rejection_sampling.pool import PoolRules, are_near_duplicates, best_per_prompt, first_per_prompt

PROMPTS = [Prompt((Message("user", f"question {number}"),)) for number in range(3)]


def candidate(prompt, response, reward, round_name="V1", finish_reason="stop"):
    provenance = {"round": round_name, "finish_reason": finish_reason}
    return Candidate(prompt, response, {"helpfulness": reward}, reward, provenance)


def responses(pool):
    return [each.response for each in pool]


def test_the_best_of_all_rounds_stays_and_a_text_counts_once():
    first, second = PROMPTS[:2]
    new = [candidate(first, "new", 0.1, "V2"), candidate(second, "same", 2.0, "V2")]
    old = [candidate(first, "old", 0.9), candidate(second, "same", 2.0), candidate(PROMPTS[2], "only then", -5.0)]
    best, dropped = best_per_prompt([*new, *old], PoolRules(per_prompt=1))
    assert [(each.response, each.provenance["round"]) for each in best] == [
        ("old", "V1"),
        ("same", "V2"),
        ("only then", "V1"),
    ]
    assert dropped["dropped_outranked"] == 2
    more, dropped = best_per_prompt([*new, *old], PoolRules(per_prompt=2))
    assert responses(more) == ["old", "new", "same", "only then"]
    assert (dropped["dropped_outranked"], dropped["dropped_near_duplicate"]) == (0, 1)


def test_stand_ins_serve_where_the_round_has_nothing_whatever_their_reward():
    """A maximum over two rounds picks the samples that a reward model errs on most, and those are the older ones."""
    new = [candidate(PROMPTS[0], "new", 0.1, "V2"), candidate(PROMPTS[1], "", 0.3, "V2")]
    old = [
        candidate(PROMPTS[0], "old", 0.9),
        candidate(PROMPTS[1], "remembered", -1.0),
        candidate(PROMPTS[2], "b", -5.0),
    ]
    best, dropped = best_per_prompt(new, PoolRules(per_prompt=1), [candidate(PROMPTS[2], "a", -6.0), *old])
    assert responses(best) == ["new", "remembered", "b"]
    assert dropped == {
        **dict.fromkeys(("dropped_cut_off", "dropped_below_min_reward", "dropped_near_duplicate"), 0),
        "dropped_empty": 1,
        "dropped_outranked": 2,
    }
    assert responses(best_per_prompt(new, PoolRules(per_prompt=2), old)[0]) == ["new", "old", "remembered", "b"]


def test_every_candidate_stays_or_is_counted_with_its_reason():
    rivals = [
        candidate(PROMPTS[0], "", 9.0),
        candidate(PROMPTS[0], "cut off in the mid", 8.0, finish_reason="length"),
        candidate(PROMPTS[0], "The fox is red.", 5.0),
        candidate(PROMPTS[0], "the fox  is red", 4.0),
        candidate(PROMPTS[0], "the owl is brown", 3.0),
        candidate(PROMPTS[0], "no idea", 2.0),
        candidate(PROMPTS[0], "go away", -1.0),
    ]
    rules = PoolRules(per_prompt=2, min_reward=0.0, max_similarity=0.9, keep_cut_off=False)
    pool, dropped = best_per_prompt(rivals, rules)
    assert responses(pool) == ["The fox is red.", "the owl is brown"]
    reasons = ("empty", "cut_off", "below_min_reward", "near_duplicate", "outranked")
    assert dropped == {f"dropped_{reason}": 1 for reason in reasons}
    kept_anyway, _ = best_per_prompt(rivals, PoolRules(per_prompt=1, keep_cut_off=True))
    assert responses(kept_anyway) == ["cut off in the mid"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("the fox is red", "The fox is red!", True),
        ("the fox is red", "the fox is blue", False),  # 3 of 4 words, the one that counts is another
        ("a b c d e f g h i j", "a b c d e f g h i k", True),  # 9 of 10
        ("a b c d", "d c b a", False),  # the same words in another order
        ("…", "!", False),  # no word at all
        ("…", "…", True),
    ],
)
def test_near_duplicates_share_nine_words_in_ten(one, other, expected):
    assert are_near_duplicates(one, other, 0.9) is expected


def test_the_first_of_each_prompt_are_trained_on():
    pool = [candidate(PROMPTS[0], text, 1.0) for text in "abc"] + [candidate(PROMPTS[1], "d", 0.0)]
    assert responses(first_per_prompt(pool, 2)) == ["a", "b", "d"]


def test_a_pool_row_comes_back_with_its_provenance(tmp_path):
    row = {**candidate(PROMPTS[0], "yes", 2.5, "V3").to_row(), "model": "m", "temperature": 1.1}
    write_rows(tmp_path / "pool.jsonl", [row])
    (remembered,) = read_pool(str(tmp_path / "pool.jsonl"))
    assert (remembered.prompt, remembered.text, remembered.earlier_reward) == (PROMPTS[0], "yes", 2.5)
    expected = {"model": "m", "temperature": 1.1, "round": "V3", "finish_reason": "stop"}
    assert remembered.provenance == expected


def test_bad_pool_names_the_row(tmp_path):
    write_rows(tmp_path / "old.jsonl", [PROMPTS[0].to_row()])
    with pytest.raises(InputError, match=r"old.jsonl:1: field 'response': found None; expected text"):
        read_pool(str(tmp_path / "old.jsonl"))


def test_only_the_sampled_answer_trains(tiny_tokenizer):
    prompt = Prompt((Message("user", "hi"), Message("assistant", "by another"), Message("user", "and?")))
    row = candidate(prompt, "mine", 0.0).to_conversation_row()
    rendered = render(tiny_tokenizer, Conversation.from_row(row).messages)
    trained = [token for token, counts in zip(rendered.token_ids, rendered.loss_mask, strict=True) if counts]
    assert tiny_tokenizer.decode(trained, skip_special_tokens=True).strip() == "mine"
