"""Pairs to token rows: what is rendered, refused and counted."""

import math

import pytest

from chat_model.conversation import Message, PreferencePair
from chat_model.errors import InputError
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from chat_model.template import render
from reward_model.arguments import RewardModelArguments
from reward_model.data import encode_pairs, fill_ratings
from reward_model.selection import select_pairs


def make_pair(question="what color is the fox?", rating="better", domain="helpfulness", answer="red", **labels):
    good, bad = Message("assistant", answer), Message("assistant", "the owl")
    return PreferencePair((Message("user", question),), (good,), (bad,), rating, domain, **labels)


def test_row_holds_both_dialogues_margin_and_labels(tiny_tokenizer):
    pair = make_pair(rating="slightly_better", chosen_safe=True)
    row = encode_pairs([pair], tiny_tokenizer, "large", None)[0]
    assert row["chosen_ids"] == render(tiny_tokenizer, pair.prompt + pair.chosen).token_ids
    assert row["rejected_ids"] == render(tiny_tokenizer, pair.prompt + pair.rejected).token_ids
    assert row["chosen_ids"][-1] == tiny_tokenizer.eos_token_id != tiny_tokenizer.pad_token_id
    assert (row["margin"], row["chosen_safe"]) == (1.0, 1.0) and math.isnan(row["rejected_safe"])
    assert row["chosen_ids"][: row["prefix"]] == row["rejected_ids"][: row["prefix"]]
    assert row["chosen_ids"][row["prefix"]] != row["rejected_ids"][row["prefix"]]
    assert row["length"] == len(row["chosen_ids"]) + len(row["rejected_ids"]) - row["prefix"]


def test_prompts_are_cut_on_the_left_by_choice_and_counted(tiny_tokenizer):
    labels = {"chosen_safe": True, "rejected_safe": False}
    pairs = [make_pair(**labels), make_pair("the fox is red. " * 9, **labels), make_pair(answer="red " * 60, **labels)]
    whole = [encode_pairs([pair], tiny_tokenizer, "small", None)[0] for pair in pairs]
    rows = encode_pairs(pairs, tiny_tokenizer, "small", 40, "truncate_prompt").to_list()
    assert [row["pair"] for row in rows] == [0, 1]  # an answer over max_length has no prompt to give
    longest = max(len(whole[1]["chosen_ids"]), len(whole[1]["rejected_ids"]))
    assert [row["cut_from_prompt"] for row in rows] == [0, longest - 40]
    assert rows[0] == whole[0]
    for name in ("chosen_ids", "rejected_ids"):
        kept, cut = rows[1][name], rows[1]["cut_from_prompt"]
        assert len(kept) <= 40 and kept == whole[1][name][:1] + whole[1][name][1 + cut :]
        assert kept[0] == tiny_tokenizer.bos_token_id
    assert rows[1]["length"] == len(rows[1]["chosen_ids"]) + len(rows[1]["rejected_ids"]) - rows[1]["prefix"]
    assert rows[1]["prefix"] == whole[1]["prefix"] - rows[1]["cut_from_prompt"]


def test_answers_that_begin_alike_lose_nothing_to_truncation(tiny_tokenizer):
    """The common prefix reaches into such answers; the cut must not."""
    start = "the owl lives in the forest. " * 6
    pair = PreferencePair(
        (Message("user", "hi"),), (Message("assistant", start + "red"),), (Message("assistant", start + "fox"),)
    )
    with pytest.raises(InputError, match="max_length: 1 of 1 pairs are over 30 tokens"):
        encode_pairs([pair], tiny_tokenizer, "none", 30, "truncate_prompt")


def test_too_long_is_dropped_whichever_answer_is_long_or_refused(tiny_tokenizer):
    pairs = [make_pair(), make_pair(answer="red " * 60), make_pair()]
    assert len(encode_pairs(pairs, tiny_tokenizer, "small", 60)) == 2
    with pytest.raises(InputError, match="max_length: 1 of 3 pairs are over 60 tokens"):
        encode_pairs(pairs, tiny_tokenizer, "small", 60, "error")
    with pytest.raises(InputError, match="max_length: 3 of 3 pairs are over 5 tokens"):
        encode_pairs(pairs, tiny_tokenizer, "small", 5)


def test_unrated_pairs_are_refused_unless_a_rating_or_no_margin_is_given():
    pairs = [make_pair(), make_pair(rating=None)]
    with pytest.raises(InputError, match="margin: small: 1 of 2 pairs have no rating; set default_rating"):
        fill_ratings(pairs, "small", None)
    assert [pair.rating for pair in fill_ratings(pairs, "small", "slightly_better")] == ["better", "slightly_better"]
    assert [pair.rating for pair in fill_ratings(pairs, "none", None)] == ["better", None]


def test_without_margins_unrated_pairs_train_and_are_counted(tmp_path):
    pairs = [make_pair(f"question {i}", rating="better" if i % 3 else None) for i in range(60)]
    write_rows(tmp_path / "pairs.jsonl", (pair.to_row() for pair in pairs))
    run = StageRun(tmp_path)
    train, test = select_pairs(run, RewardModelArguments([str(tmp_path / "pairs.jsonl")], margin="none"), seed=0)
    unrated = sum(pair.rating is None for pair in train)
    assert run.counts["mixture"]["by_rating"] == {"better": len(train) - unrated, "unrated": unrated}
    assert unrated + sum(pair.rating is None for pair in test) == 20


def test_selection_counts_every_pair(tmp_path):
    pairs = [make_pair(f"question {i}", chosen_safe=True, rejected_safe=True) for i in range(60)]
    pairs += [make_pair(f"danger {i}", "better", "safety") for i in range(40)]
    pairs += [make_pair("bad", chosen_safe=False, rejected_safe=True)] * 3
    files = [str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl")]
    write_rows(files[0], (pair.to_row() for pair in pairs[:50]))
    write_rows(files[1], (pair.to_row() for pair in pairs[50:]))
    run = StageRun(tmp_path)
    arguments = RewardModelArguments(files, domain="helpfulness", other_domain_share=0.2, test_share=0.3)
    train, test = select_pairs(run, arguments, seed=0)
    counts = run.counts
    assert (counts["read"], counts["dropped_unsafe_chosen"]) == (103, 3)
    assert counts["held_out"] == len(test) and counts["mixture"]["pairs"] == len(train)
    assert counts["held_out"] + counts["mixture"]["pairs"] + counts["not_in_mixture"] == 100
    by_domain = counts["mixture"]["by_domain"]
    assert by_domain["safety"] == round(by_domain["helpfulness"] / 4)
    assert {pair.domain for pair in test} == {"helpfulness", "safety"}
    assert not {pair.prompt for pair in train} & {pair.prompt for pair in test}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "safety"}, "domain: safety: found none"),
        ({"safety_loss_weight": 1.0, "test_share": 0.3}, "safety_loss_weight: above 0, but no pair has 'chosen_safe'"),
        ({"test_share": 1e-9}, "holds out no pair"),
        ({"test_share": 1 - 1e-9}, "no pair is left to train on"),
        ({"test_share": 0.0}, "test_share: found 0.0"),
        ({"default_rating": "beter"}, "did you mean 'better'"),
        ({"safety_loss_weight": -1.0}, "safety_loss_weight: found -1.0"),
    ],
)
def test_selection_refuses(tmp_path, options, message):
    write_rows(tmp_path / "pairs.jsonl", (make_pair(f"question {i}").to_row() for i in range(30)))
    with pytest.raises(InputError, match=message):
        select_pairs(StageRun(tmp_path), RewardModelArguments([str(tmp_path / "pairs.jsonl")], **options), seed=0)


def test_safety_without_its_loss_warns(tmp_path):
    write_rows(tmp_path / "pairs.jsonl", (make_pair(f"question {i}", domain="safety").to_row() for i in range(30)))
    with pytest.warns(UserWarning, match="0.15 threshold means nothing"):
        arguments = RewardModelArguments([str(tmp_path / "pairs.jsonl")], domain="safety", test_share=0.3)
        select_pairs(StageRun(tmp_path), arguments, seed=0)


def test_repeats_bad_labels_and_test_files_are_counted(tmp_path):
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "test")}
    pairs = [make_pair(f"question {i}", source="one") for i in range(10)]
    pairs += [make_pair(f"danger {i}", None, "safety", chosen_safe=True, source="two") for i in range(4)]
    pairs += [make_pair("both", domain="safety", chosen_safe=label) for label in (True, False)]
    write_rows(files["train"], (pair.to_row() for pair in pairs))
    unsafe = make_pair("bad", chosen_safe=False, rejected_safe=True)
    write_rows(files["test"], (pair.to_row() for pair in [make_pair("test"), unsafe]))
    options = {"mixture": "helpfulness", "allow_repeats": True, "default_rating": "slightly_better"}
    run = StageRun(tmp_path)
    select_pairs(run, RewardModelArguments([files["train"]], [files["test"]], **options), seed=0)
    assert run.counts == {
        "read": 16,
        "dropped_contradictory_labels": 2,
        "dropped_unsafe_chosen": 0,
        "test_read": 2,
        "test_dropped_contradictory_labels": 0,
        "test_dropped_unsafe_chosen": 1,
        "held_out": 1,
        "not_in_mixture": 0,
        "mixture": {
            "pairs": 20,
            "repeated": 6,
            "by_domain": {"helpfulness": 10, "safety": 10},
            "by_source": {"one": 10, "two": 10},
            "by_rating": {"better": 10, "slightly_better": 10},
        },
    }


def test_missing_ratings_are_refused_with_the_file(tmp_path):
    for name, rating in (("rated", "better"), ("unrated", None)):
        write_rows(tmp_path / f"{name}.jsonl", (make_pair(f"{name} {i}", rating).to_row() for i in range(3)))
    with pytest.raises(InputError, match=r"unrated.jsonl: margin: small: 3 of 3 pairs have no rating"):
        arguments = RewardModelArguments([str(tmp_path / "rated.jsonl"), str(tmp_path / "unrated.jsonl")])
        select_pairs(StageRun(tmp_path), arguments, seed=0)


MESSAGES = [{"role": "user", "content": "what?"}, {"role": "assistant", "content": "this"}]
OTHER = [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "that"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rating": "beter"}, r"field 'rating': found 'beter'; .*did you mean 'better'"),
        ({"chosen": [{"role": "assistant", "content": " \n"}]}, r"field 'chosen\[0\].content': .* not empty"),
        ({"prompt": [MESSAGES[1], MESSAGES[0]]}, r"field 'prompt\[0\].role': found 'assistant'; expected 'user'"),
        ({"prompt": MESSAGES}, r"field 'prompt\[1\].role': found 'assistant'; expected 'user' at the end"),
        ({"prompt": None, "chosen": MESSAGES, "rejected": OTHER}, "field 'rejected': .*the same prompt as in 'chosen'"),
        ({"chosen_safe": 1}, "field 'chosen_safe': found 1; expected true, false or nothing"),
        ({"source": ["a"]}, r"field 'source': found \['a'\]"),
    ],
)
def test_bad_rows_are_refused_with_file_line_and_field(tmp_path, change, message):
    rows = [make_pair(f"question {i}").to_row() for i in range(3)]
    rows[1].update(change)
    write_rows(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(InputError, match=rf"pairs.jsonl:2: {message}"):
        select_pairs(StageRun(tmp_path), RewardModelArguments([str(tmp_path / "pairs.jsonl")]), seed=0)


def test_mixed_schemas_in_one_file_are_refused_with_what_was_found(tmp_path):
    rows = [make_pair().to_row(), {"messages": MESSAGES, "id": 1}]
    write_rows(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(
        InputError, match="pairs.jsonl:2: no field 'chosen': found messages, id; expected prompt, chosen"
    ):
        select_pairs(StageRun(tmp_path), RewardModelArguments([str(tmp_path / "pairs.jsonl")]), seed=0)


def test_identical_answers_are_refused_with_file_and_line(tmp_path):
    rows = [make_pair(f"question {i}").to_row() for i in range(3)]
    rows[1]["rejected"] = rows[1]["chosen"]
    write_rows(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(InputError, match=r"pairs.jsonl:2: field 'rejected': .*differs from 'chosen'"):
        select_pairs(StageRun(tmp_path), RewardModelArguments([str(tmp_path / "pairs.jsonl")]), seed=0)
