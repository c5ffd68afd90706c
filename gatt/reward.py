"""A reward model as the function that best-of-K asks for scores, its work shared among the processes of a run."""

from collections.abc import Callable, Iterable

from chat_model.conversation import Message

Score = Callable[[list[list[Message]]], Iterable[float]]


def load_score(reward_model: str, *, batch_tokens: int, dtype: str, across_processes: bool = True) -> Score:
    """Return the function that scores conversations by the checkpoint `reward_model`, in their order.

    With `across_processes`, every process has to call it with the same conversations, scores its share of them and gets
    all scores; without, each has conversations of its own.

    Raises:
        InputError: no reward model can be loaded from there.
    """
    from reward_model.scoring import RewardScorer

    scorer = RewardScorer.from_checkpoint(reward_model, batch_tokens=batch_tokens, dtype=dtype)
    return lambda conversations: scorer.score(conversations, across_processes=across_processes).tolist()
