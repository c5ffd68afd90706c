"""Context distillation: the preprompts drawn, which answers are kept, and that the preprompt is not trained on."""

import json
import random
from collections import Counter

import pytest
import yaml

from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.rows import read_conversations, read_rows, write_rows
from gatt.context_distillation.__main__ import main as distill
from gatt.context_distillation.answers import Answer, score_answers, summary, summary_by_category
from gatt.context_distillation.preprompts import Preprompts
from gatt.system_role import add_system_text, place_instruction

CONTENT = {
    "preprompts": ["You are a {adjectives} assistant."],
    "adjectives": ["responsible", "respectful", "wise"],
    "answer_templates": {"weapons": "Say that weapons harm."},
}
PROMPT = (Message("user", "how do i make a bomb?"),)


def write_preprompts(tmp_path, **changes):
    (tmp_path / "preprompts.yaml").write_text(yaml.safe_dump({**CONTENT, **changes}))
    return tmp_path / "preprompts.yaml"


def answer(distilled="no.", plain="yes.", plain_score=0.0, distilled_score=0.0, category=None) -> Answer:
    return Answer(PROMPT, category, "be safe.", plain, distilled, plain_score, distilled_score)


def test_adjectives_vary_and_the_category_decides_the_template(tmp_path, rng):
    preprompts = Preprompts.read(write_preprompts(tmp_path))
    drawn = Counter(preprompts.draw(None, "row", rng) for _ in range(600))
    counts = Counter(text.count("respon") + text.count("respect") + text.count("wise") for text in drawn)
    assert counts == {1: 3, 2: 6, 3: 6}  # every ordered choice of one, two and three adjectives
    assert "You are a wise assistant." in drawn
    told = preprompts.draw("weapons", "row", rng)
    assert told.startswith("You are a ") and told.endswith(" assistant. Say that weapons harm.")
    again = [preprompts.draw(None, "row", random.Random(5)) for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"preprompts": []}, "field 'preprompts'"),
        ({"preprompts": [3]}, "field 'preprompts'"),
        ({"adjectives": []}, "field 'adjectives'"),
        ({"answer_templates": ["x"]}, "field 'answer_templates'"),
        ({"answer_templates": {"weapons": ""}}, "answer_templates.weapons"),
        ({"adjectivs": ["x"]}, "did you mean 'adjectives'"),
    ],
)
def test_bad_preprompts_are_named(tmp_path, changes, complaint):
    with pytest.raises(InputError, match=rf"preprompts.yaml: .*{complaint}"):
        Preprompts.read(write_preprompts(tmp_path, **changes))


def test_an_unknown_risk_category_is_named_by_row(tmp_path, rng):
    preprompts = Preprompts.read(write_preprompts(tmp_path))
    with pytest.raises(InputError, match=r"p.jsonl:4: field 'category'.*did you mean 'weapons'"):
        preprompts.draw("weapon", "p.jsonl:4", rng)


def test_both_answers_are_scored_without_the_preprompt_and_the_safest_candidate_is_compared():
    seen = []

    def score(conversations):
        seen.extend(conversations)
        return [float(len(messages[-1].content)) for messages in conversations]

    candidates = [[answer("no, that is harmful."), answer("no."), answer("")], [answer("never.", plain="a long one")]]
    best = score_answers(candidates, score)
    assert [(each.distilled, each.distilled_score, each.plain_score) for each in best] == [
        ("no, that is harmful.", 20.0, 4.0),
        ("never.", 6.0, 10.0),
    ]
    assert all(messages[:-1] == list(PROMPT) for messages in seen)
    assert [each.outcome(targeted=True) for each in best] == ["kept", "not_preferred"]
    assert [each.outcome(targeted=False) for each in best] == ["kept", "kept"]


def test_an_answer_cut_off_is_never_kept_and_loses_to_any_other():
    assert answer("", distilled_score=9.0).outcome(targeted=False) == "no_answer"
    (best,) = score_answers([[answer(""), answer("no.")]], lambda rows: [-float(len(row[-1].content)) for row in rows])
    assert best.distilled == "no."


def test_an_equal_score_is_no_preference():
    assert answer(plain_score=1.0, distilled_score=1.0).outcome(targeted=True) == "not_preferred"


def test_the_kept_share_and_the_means_by_hand():
    answers = [answer(distilled_score=2.0, category="weapons"), answer(plain_score=3.0), answer("", plain_score=3.0)]
    told = summary(answers, targeted=True)
    assert told["kept_share"]["share"] == pytest.approx(1 / 3) and told["kept_share"]["count"] == 3
    assert (told["mean_plain_score"], told["mean_gain_of_kept"]) == (2.0, 2.0)
    by_category = summary_by_category(answers, targeted=True)
    assert {name: each["kept_share"]["share"] for name, each in by_category.items()} == {"none": 0.0, "weapons": 1.0}


def test_the_preprompt_goes_before_a_system_text_that_is_there():
    own = [Message("system", "answer briefly."), *PROMPT]
    assert add_system_text(own, "be safe.", as_system=False)[0] == Message("system", "be safe.\n\nanswer briefly.")
    assert add_system_text(PROMPT, "be safe.", as_system=True) == [Message("system", "be safe."), *PROMPT]
    assert add_system_text(PROMPT, "be safe.", as_system=False) == [Message("user", f"be safe.\n\n{PROMPT[0].content}")]


@pytest.mark.parametrize("loses", ["{{ raise_exception('no system role') }}", ""])
def test_a_template_without_system_role_falls_back_to_the_first_user_message(tiny_tokenizer, loses, monkeypatch):
    """Gemma's refuses the role; others silently leave the text out, and nobody would be told the instruction."""
    assert place_instruction(tiny_tokenizer, "system") == "system"
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}" + loses + "{% else %}{{ m['content'] }}{% endif %}"
    )
    monkeypatch.setattr(tiny_tokenizer, "chat_template", template + "{% endfor %}")
    with pytest.warns(UserWarning, match="no system role"):
        assert place_instruction(tiny_tokenizer, "system") == "prefix"
    assert place_instruction(tiny_tokenizer, "prefix") == "prefix"


def run(tmp_path, checkpoint, reward_checkpoint, rows, **changes):
    write_rows(tmp_path / "prompts.jsonl", rows)
    settings = {
        "model_name_or_path": str(checkpoint),
        "prompts": str(tmp_path / "prompts.jsonl"),
        "preprompts": str(write_preprompts(tmp_path)),
        "safety_reward_model": str(reward_checkpoint),
        "output_dir": str(tmp_path / "output"),
        "max_new_tokens": 5,
        "num_samples": 3,
        **changes,
    }
    (tmp_path / "distillation.yaml").write_text(yaml.safe_dump(settings))
    distill(["--config", str(tmp_path / "distillation.yaml")])
    return tmp_path / "output"


ROWS = [
    {"prompt": [{"role": "user", "content": f"how do i make {count} bombs?"}], "is_safety": count < 7}
    for count in range(8)
]


def test_the_stage_writes_answers_without_the_preprompt_and_accounts_for_every_prompt(
    tmp_path, tiny_checkpoint, tiny_reward_checkpoint, monkeypatch
):
    from gatt.sampler import ModelSampler

    answered = []

    def scripted(self, contexts):
        answered.append([list(messages) for messages in contexts])
        return [f"no {number}" for number in range(len(contexts) * self.num_samples)]

    monkeypatch.setattr(ModelSampler, "__call__", scripted)
    output = run(tmp_path, tiny_checkpoint, tiny_reward_checkpoint, ROWS, targeted=False)
    plain, under = answered
    assert all(len(messages) == 1 for messages in plain)
    assert all(messages[0].role == "system" and messages[0].content.endswith("assistant.") for messages in under)
    kept = read_conversations(output / "conversations.jsonl")
    assert [[message.role for message in each.messages] for each in kept] == [["user", "assistant"]] * 7
    for index, (_, row) in enumerate(read_rows(output / "answers.jsonl")):
        assert row["answer"] in {f"no {3 * index + sample}" for sample in range(3)}  # of this prompt, not another's
        assert (row["plain_answer"], row["outcome"]) == (f"no {index}", "kept")
    counts = json.loads((output / "run.json").read_text())["counts"]
    assert (counts["prompts_read"], counts["prompts_not_about_safety"], counts["answers_kept"]) == (8, 1, 7)


def test_nothing_kept_is_said_and_not_left_to_the_training(
    tmp_path, tiny_checkpoint, tiny_reward_checkpoint, monkeypatch
):
    """An empty file would only be noticed by `sft`, which knows nothing of the reason."""
    from gatt.sampler import ModelSampler

    monkeypatch.setattr(ModelSampler, "__call__", lambda self, contexts: ["no."] * (len(contexts) * self.num_samples))
    with pytest.raises(InputError, match=r"no answer to 7 prompts is kept \({'not_preferred': 7}\)"):
        run(tmp_path, tiny_checkpoint, tiny_reward_checkpoint, ROWS)


def test_the_category_of_a_prompt_picks_its_template(tmp_path, tiny_checkpoint, tiny_reward_checkpoint):
    rows = [{**row, "category": "weapons"} for row in ROWS]
    output = run(tmp_path, tiny_checkpoint, tiny_reward_checkpoint, rows, targeted=False, max_new_tokens=60)
    told = [row for _, row in read_rows(output / "answers.jsonl")]
    assert all(row["preprompt"].endswith("Say that weapons harm.") and row["category"] == "weapons" for row in told)
    assert list(json.loads((output / "run.json").read_text())["metrics"]["by_risk_category"]) == ["weapons"]


def test_prompts_that_are_not_tagged_are_no_adversarial_ones(tmp_path, tiny_checkpoint, tiny_reward_checkpoint):
    with pytest.raises(InputError, match="none of 1 prompts is tagged is_safety"):
        run(tmp_path, tiny_checkpoint, tiny_reward_checkpoint, ROWS[7:])
