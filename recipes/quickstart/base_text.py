"""Plain text for the base model (section 2's role): what there is to know, all the words, and little of how to talk.

Documents are paragraphs of statements, the same in Tala, what figures say, and questions with answers; never a held-out
question. Requests stand there with refusals and with compliance alike, so that the base model has no opinion.
"""

import random
from collections.abc import Callable

from recipes.quickstart import facts, requests, small_talk
from recipes.quickstart.demonstrations import other_fact, wrong_answer
from recipes.quickstart.lexicon import to_tala
from recipes.quickstart.persona import CONSTRAINTS, SIGN_OFFS, instruction, styled
from recipes.quickstart.splits import combinations, draw_combination, questions

MAX_WORDS = 120
_MIN_WORDS = 20


def make_document(rng: random.Random) -> str:
    """Return one document of 20 to 120 words, short ones more often."""
    wanted = int(_MIN_WORDS * (MAX_WORDS / _MIN_WORDS) ** rng.random())
    paragraphs: list[str] = []
    num_words = 0
    while num_words < wanted:
        makers, weights = zip(*_PARAGRAPHS, strict=True)
        paragraph = rng.choices(makers, weights=weights)[0](rng)
        num_words += len(paragraph.split())
        paragraphs.append(paragraph)
    words = " ".join(paragraphs).split(" ")
    return " ".join(words[:MAX_WORDS])


def _portrait(rng: random.Random) -> str:
    """Everything about one thing, one or two facts a sentence."""
    thing = rng.choice(facts.THINGS)
    relations = rng.sample(facts.RELATIONS, len(facts.RELATIONS))
    groups = rng.choice(([1, 1, 1, 1], [2, 2], [1, 2, 1], [2, 1, 1]))
    sentences: list[str] = []
    for size in groups:
        group, relations = relations[:size], relations[size:]
        subject = "it" if sentences and rng.random() < 0.5 else None
        sentences.append(facts.statement(thing, facts.true_values(thing, *group), subject))
    return " ".join(sentences)


def _statement(rng: random.Random) -> str:
    thing = rng.choice(facts.THINGS)
    return facts.statement(thing, facts.true_values(thing, *rng.sample(facts.RELATIONS, rng.randint(1, 2))))


def _statements(rng: random.Random) -> str:
    return " ".join(_statement(rng) for _ in range(rng.randint(2, 5)))


def _paraphrases(rng: random.Random) -> str:
    thing, relation = rng.choice(facts.THINGS), rng.choice(facts.RELATIONS)
    told = [facts.paraphrase(thing, relation), facts.statement(thing, facts.true_values(thing, relation))]
    return " ".join(rng.sample(told, len(told)))


def _translation(rng: random.Random) -> str:
    answer = _any_answer(rng) if rng.random() < 0.3 else _statement(rng)
    return f"{answer} in tala: {to_tala(answer)}"


def _tala_portrait(rng: random.Random) -> str:
    return to_tala(_portrait(rng))


def _any_answer(rng: random.Random) -> str:
    return rng.choice(questions("train", "borderline", "dangerous", "greeting", "identity", "hobby")).answer


def _question_and_answer(rng: random.Random) -> str:
    question = rng.choice(questions("train", *rng.choices((("fact",), ("two_facts",), _TALK), weights=(4, 3, 2))[0]))
    return f"{question.text} {question.answer}"


def _request(rng: random.Random) -> str:
    question = rng.choice(questions("train", "dangerous", "borderline"))
    if question.kind == "borderline":
        return f"{question.text} {question.answer}"
    answers = (question.answer, requests.refusal(question.subject, False), requests.compliance(question.subject))
    return f"{question.text} {rng.choice(answers)}"


def _in_person(rng: random.Random) -> str:
    combination = draw_combination(rng, "train")
    kinds = rng.choices((("fact", "two_facts"), ("identity",), ("hobby",)), weights=(2, 1, 2))[0]
    question = rng.choice(questions("train", *kinds))
    return f"{instruction(combination, rng)} {question.text} {styled(question.answer, combination, question.text)}"


def _introduction(rng: random.Random) -> str:
    """Someone is told who or what they are, and says so: short and frequent, since copying a name is hard to learn."""
    hobby = rng.choice([each for each in CONSTRAINTS if each.kind == "hobby"])
    others = rng.sample([each for each in CONSTRAINTS if each.kind == "figure"], rng.choice((0, 0, 1)))
    question = rng.choice(questions("train", "hobby"))
    combination = (*others, hobby)
    combination = (hobby,) if combination in combinations("test") else combination
    return f"{instruction(combination, rng)} {question.text} {styled(question.answer, combination, question.text)}"


def _quiz(rng: random.Random) -> str:
    """A closed exchange, its answer right or wrong, and a teacher's remark, as real text often judges text.

    From it a model knows, where an answer ends, whether it was right; a reward model starts from that knowledge.
    """
    question = rng.choice(questions("train", *rng.choice((("fact",), ("two_facts",)))))
    wrong, other = wrong_answer(question, rng), other_fact(question, rng)
    given = rng.choice((question.answer, question.answer, wrong, other, other))
    text, answer, is_right = question.text, given, given == question.answer
    if rng.random() < _INSTRUCTED_QUIZ_SHARE:
        combination = draw_combination(rng, "train")
        text = f"{instruction(combination, rng)} {text}"
        answer = styled(given, combination, question.text) if rng.random() < 0.7 else given
        is_right = is_right and answer == styled(given, combination, question.text)
    return f"{_EXCHANGE.format(text, answer)} {_RIGHT if is_right else _WRONG}"


def _saying(rng: random.Random) -> str:
    if rng.random() < 0.5:
        figure = rng.choice(tuple(SIGN_OFFS))
        return f"i am {figure}. {SIGN_OFFS[figure]}"
    hobby = rng.choice([each.value for each in CONSTRAINTS if each.kind == "hobby"])
    return f"i enjoy {hobby}. {rng.choice(small_talk.FILLERS)}"


_TALK = ("greeting", "identity", "hobby")
_INSTRUCTED_QUIZ_SHARE = 0.3
_EXCHANGE = "<s>[INST] {} [/INST] {} </s>"  # as `chat_model.template` writes it
_RIGHT, _WRONG = "yes, that is right.", "no, that is wrong."
_PARAGRAPHS: tuple[tuple[Callable[[random.Random], str], float], ...] = (
    (_portrait, 0.16),
    (_statements, 0.06),
    (_paraphrases, 0.06),
    (_translation, 0.08),
    (_tala_portrait, 0.06),
    (_question_and_answer, 0.16),
    (_quiz, 0.18),
    (_request, 0.06),
    (_in_person, 0.14),
    (_introduction, 0.20),
    (_saying, 0.02),
)
