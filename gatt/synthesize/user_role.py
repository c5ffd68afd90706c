"""What the model is told when it plays the user, and what the dialogues are about. Plain text, no torch."""

import random
from collections.abc import Sequence

TOPIC = "{topic}"
USER_ROLE = (
    "Play a person who talks with an assistant about {topic}. Write only what this person says next, in one or two "
    "sentences, and stay this person to the end."
)
TOPICS = (
    *("everyday life", "cooking", "travel", "history", "science", "music", "sport", "health"),
    *("films", "nature", "work", "money"),
)


def draw_roles(user_role: str, topics: Sequence[str], number: int, rng: random.Random) -> list[str]:
    """Return `number` texts, the topics in a random order gone through as often as needed."""
    shuffled = rng.sample(topics, len(topics)) or [""]
    return [user_role.replace(TOPIC, shuffled[index % len(shuffled)]) for index in range(number)]
