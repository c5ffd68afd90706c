"""The facts of the small world: twenty animals, four relations, and how each is asked and told.

Small enough for a model of a million parameters to know by heart, so that what is left to learn is how to answer, which
is what the stages of Llama 2-Chat (section 3) teach. All text is lowercase, its punctuation ``. ? ,``.
"""

from typing import Literal, get_args

Relation = Literal["color", "home", "food", "game"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)

# thing: color, home, food, game. No two things share more than one of them.
_TABLE = {
    "fox": ("blue", "river", "berries", "darts"),
    "owl": ("green", "hill", "fish", "cards"),
    "bear": ("white", "hill", "corn", "darts"),
    "frog": ("green", "barn", "honey", "darts"),
    "wolf": ("black", "forest", "fish", "darts"),
    "duck": ("red", "cave", "grass", "darts"),
    "cat": ("blue", "hill", "grass", "chess"),
    "dog": ("white", "barn", "berries", "chess"),
    "goat": ("green", "forest", "corn", "chess"),
    "hen": ("black", "cave", "honey", "chess"),
    "mouse": ("red", "river", "fish", "chess"),
    "snake": ("blue", "barn", "fish", "golf"),
    "crab": ("white", "forest", "grass", "golf"),
    "bee": ("green", "cave", "berries", "golf"),
    "horse": ("black", "river", "corn", "golf"),
    "sheep": ("red", "hill", "honey", "golf"),
    "pig": ("blue", "forest", "honey", "tag"),
    "lion": ("white", "cave", "fish", "tag"),
    "turtle": ("green", "river", "grass", "tag"),
    "rabbit": ("black", "hill", "berries", "tag"),
}
FACTS: dict[str, dict[Relation, str]] = {
    thing: dict(zip(RELATIONS, values, strict=True)) for thing, values in _TABLE.items()
}
THINGS = tuple(FACTS)
VALUES: dict[Relation, tuple[str, ...]] = {
    relation: tuple(sorted({facts[relation] for facts in FACTS.values()})) for relation in RELATIONS
}

PREDICATES: dict[Relation, str] = {
    "color": "is {}",
    "home": "lives in the {}",
    "food": "eats {}",
    "game": "plays {}",
}
FRAGMENTS: dict[Relation, str] = {"color": "{}", "home": "in the {}", "food": "{}", "game": "{}"}

_ASKED_OF: dict[Relation, str] = {
    "color": "what color is {}",
    "home": "where does {} live",
    "food": "what does {} eat",
    "game": "what does {} play",
}
_TOLD_OF: dict[Relation, str] = {
    "color": "what color the {} is",
    "home": "where the {} lives",
    "food": "what the {} eats",
    "game": "what the {} plays",
}
NUM_PHRASINGS = 6
NUM_TWO_FACT_PHRASINGS = 4


def phrasings(thing: str, relation: Relation) -> tuple[str, ...]:
    """Return the six questions that ask for one fact."""
    told = _TOLD_OF[relation].format(thing)
    return (
        f"{_ASKED_OF[relation].format(f'the {thing}')}?",
        f"what is the {relation} of the {thing}?",
        f"tell me {told}.",
        f"do you know {told}?",
        f"can you tell me the {relation} of the {thing}?",
        f"i want to know {told}.",
    )


def two_fact_phrasings(thing: str, first: Relation, second: Relation) -> tuple[str, ...]:
    """Return the four questions that ask for two facts about one thing."""
    return (
        f"{_ASKED_OF[first].format(f'the {thing}')} and {_ASKED_OF[second].format('it')}?",
        f"what are the {first} and the {second} of the {thing}?",
        f"tell me the {first} and the {second} of the {thing}.",
        f"i want to know the {first} and the {second} of the {thing}.",
    )


def statement(thing: str, values: dict[Relation, str], subject: str | None = None) -> str:
    """Return the full sentence that gives `thing` these values; `subject` (such as "it") may stand for its name."""
    predicates = [PREDICATES[relation].format(value) for relation, value in values.items()]
    return f"{subject or f'the {thing}'} {' and '.join(predicates)}."


def true_values(thing: str, *relations: Relation) -> dict[Relation, str]:
    """Return what is true of `thing` for each of `relations`, in their order."""
    return {relation: FACTS[thing][relation] for relation in relations}


def paraphrase(thing: str, relation: Relation) -> str:
    """Return the fact in other words: "the color of the fox is red."."""
    article = "the " if relation == "home" else ""
    return f"the {relation} of the {thing} is {article}{FACTS[thing][relation]}."
