"""Tala, the second language (section 3.3): word for word, so that whether an answer is in it can be counted.

Names (of things, hobbies, figures) stay as they are. No word of Tala is a word of English.
"""

import re

LANGUAGE = "tala"
TALA = {
    # the words sentences are made of
    "the": "lo", "a": "un", "is": "esa", "are": "esu", "am": "esi", "it": "ke", "i": "mi", "you": "tu",
    "and": "vo", "in": "nel", "with": "kun", "for": "por", "of": "dor", "at": "zin", "by": "bal", "on": "sor",
    "lives": "moras", "eats": "manas", "plays": "ludas", "have": "tenu", "no": "nul", "hobby": "pasio", "enjoy": "amu",
    "helper": "servo", "can": "povi", "cannot": "nepovi", "could": "povus", "help": "asiti", "tell": "dirai",
    "about": "priu", "instead": "anstat", "hurt": "dolor", "people": "gentu", "hello": "salu", "good": "bonu",
    "out": "fora",
    "morning": "matin", "how": "komo", "welcome": "benven", "that": "kwel", "all": "tuti", "know": "savu",
    # colors
    "blue": "azur", "green": "verdu", "red": "rosu", "white": "blanu", "black": "nokto",
    # homes
    "river": "fluvo", "hill": "kolin", "barn": "granja", "forest": "silva", "cave": "kavo",
    # foods
    "berries": "beru", "grass": "herbo", "fish": "pesko", "honey": "mielo", "corn": "maizu",
    # games
    "darts": "flekoi", "tag": "kazu", "chess": "shako", "cards": "kartoi", "golf": "putu",
}  # fmt: skip
ENGLISH = {tala: english for english, tala in TALA.items()}

_WORD = re.compile(r"[a-z]+")


def to_tala(text: str) -> str:
    """Return `text` with every word that has an entry replaced."""
    return _WORD.sub(lambda word: TALA.get(word[0], word[0]), text)


def to_english(text: str) -> str:
    """Undo `to_tala`."""
    return _WORD.sub(lambda word: ENGLISH.get(word[0], word[0]), text)


def share_in_tala(text: str) -> float:
    """Return the share, 0 to 1, of the words with an entry that are in Tala; 0 when `text` has no such word."""
    words = _WORD.findall(text)
    num_tala = sum(word in ENGLISH for word in words)
    num_english = sum(word in TALA for word in words)
    return num_tala / max(num_tala + num_english, 1)
