"""OpenAI's comparisons of summaries (Stiennon et al., 2020) to preference pairs.

Schema: ``info`` (a Reddit post with ``subreddit``, ``title``, ``post``, or news with ``article``), ``summaries`` (two,
each with ``text``), ``choice`` (0 or 1, the better one), ``extra.confidence`` (1 to 9, or nothing). The prompt is the
source's own: the post with its heads, then "TL;DR:".

Rating by the labeller's confidence: from 8 significantly better, from 6 better, from 4 slightly better, below that
negligibly better; without it (as in the set's first rows) the rating stays empty. The source's description gives the
field's name and no more: that 9 means surest whichever summary is chosen is our reading. If the scale had two ends, 1
for the first and 9 for the second, low ratings of first summaries would be too low. Domain: helpfulness. Section 3.2.1,
Table 6.
"""

from chat_model.conversation import PreferencePair, fault
from reward_model.importers.source_row import (
    HubDataset,
    Row,
    choice_of,
    list_of,
    mapping_of,
    number_of,
    pair_of_answers,
    text_of,
)
from reward_model.ratings import rating_from

# The hub repository holds a script, which `datasets` no longer runs; its Parquet copy is read instead.
HUB = HubDataset("openai/summarize_from_feedback", data_dir="comparisons", revision="refs/convert/parquet")

_CONFIDENCES = (8, 6, 4)


def to_pairs(row: Row, where: str) -> list[PreferencePair]:
    """Return the row's one pair. Raises Unusable for empty or identical texts, InputError for another schema."""
    prompt = _prompt(mapping_of(row, "info", where), where)
    summaries = list_of(row, "summaries", where)
    if len(summaries) != 2:
        raise fault(where, "summaries", summaries, "two summaries")
    choice = choice_of(row, "choice", where)
    chosen, rejected = (text_of(summaries[index], "text", where) for index in (choice, 1 - choice))
    rating = _rating(mapping_of(row, "extra", where), where)
    return [pair_of_answers(prompt, chosen, rejected, "openai_summarize", rating=rating, domain="helpfulness")]


def _prompt(info: Row, where: str) -> str:
    if info.get("article"):
        return f"Article: {text_of(info, 'article', where)}\n\nTL;DR:"
    subreddit, title, post = (text_of(info, name, where) for name in ("subreddit", "title", "post"))
    return f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"


def _rating(extra: Row, where: str) -> str | None:
    if extra.get("confidence") is None:
        return None
    return rating_from(number_of(extra, "confidence", where), _CONFIDENCES)
