"""Hold many dialogues at once: turn by turn, every open dialogue's next reply in one batch.

Synthesis and evaluation differ only in where the instruction stands and in how a reply is taken from its candidates;
both come in as functions, as does the model, so that the engine can be read and tested without one. Section 3.3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chat_model.conversation import Message, to_dicts
from gatt.constraints import Combination

InstructionAs = Literal["every_turn", "system", "prefix", "nowhere"]
Ending = Literal["complete", "lost", "context_full"]

SampleReplies = Callable[[list[list[Message]]], list[str]]
"""Contexts -> K replies each; reply j of context i stands at i·K + j. An empty text is a reply that cannot be used."""


@dataclass(frozen=True)
class Override:
    """A second instruction, stated before the question of `turn` (from 1); `combination` holds from there on."""

    turn: int
    combination: Combination
    instruction: str


@dataclass(frozen=True)
class Plan:
    """What will be said to the model: the user's questions, and the instruction that states `combination`."""

    questions: tuple[str, ...]
    combination: Combination
    instruction: str
    override: Override | None = None

    def in_force(self, turn: int) -> Combination:
        """Return the constraints that the reply of `turn` (from 1) has to follow."""
        if self.override is not None and turn >= self.override.turn:
            return self.override.combination
        return self.combination


@dataclass(frozen=True)
class Reply:
    """One assistant turn. `follows` is None where nothing was put to the test, `score` where no reward was computed.

    `by_kind` holds the verdicts by kind of constraint, of those kinds that were put to the test.
    """

    text: str
    follows: bool | None = None
    score: float | None = None
    by_kind: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Dialogue:
    """A held dialogue: the replies to the first questions of its plan, and why there are no more."""

    plan: Plan
    replies: tuple[Reply, ...]
    ended: Ending

    def messages(self, instruction_as: InstructionAs) -> list[Message]:
        """Return all that was said, the instruction placed as asked."""
        *earlier, last = [reply.text for reply in self.replies]
        return [*context(self.plan, earlier, instruction_as), Message("assistant", last)]

    def provenance(self) -> dict[str, Any]:
        """Return the columns that say what was asked for: `instruction` and `constraints`."""
        told = {"instruction": self.plan.instruction, **self.plan.combination.to_row()}
        second = self.plan.override
        return (
            told if second is None else {**told, "override": {"turn": second.turn, "instruction": second.instruction}}
        )


ChooseReplies = Callable[[list[Plan], list[list[Message]], list[list[str]]], list[Reply | None]]
"""(plans, contexts, K candidates each) -> the reply of each, or None, which ends that dialogue."""


def context(plan: Plan, replies: Sequence[str], instruction_as: InstructionAs) -> list[Message]:
    """Return the messages up to the question that follows `replies`, the instruction standing where asked.

    `every_turn` puts it before each user message (how GAtt samples), `prefix` before the first one alone and `system`
    into a system message (how GAtt trains, and how a user would say it); `nowhere` leaves it out.
    """
    messages = [Message("system", plan.instruction)] if instruction_as == "system" else []
    for turn, question in enumerate(plan.questions[: len(replies) + 1]):
        prefixed = instruction_as == "every_turn" or (instruction_as == "prefix" and turn == 0)
        stated = plan.instruction if prefixed else ""
        if plan.override is not None and turn == plan.override.turn - 1:
            stated = plan.override.instruction
        messages.append(Message("user", f"{stated} {question}" if stated else question))
        if turn < len(replies):
            messages.append(Message("assistant", replies[turn]))
    return messages


def hold(
    plans: Sequence[Plan],
    instruction_as: InstructionAs,
    sample_replies: SampleReplies,
    choose: ChooseReplies,
    fits: Callable[[list[Message]], bool] = lambda _: True,
    max_attempts: int = 1,
) -> list[Dialogue]:
    """Hold one dialogue a plan, all in step: at each turn, the open ones are sampled in a single call.

    A dialogue ends early when its context no longer `fits`, or when `choose` gives None `max_attempts` times at one
    turn. Results are in plan order.
    """
    replies: list[list[Reply]] = [[] for _ in plans]
    ended: list[Ending] = ["complete"] * len(plans)
    for turn in range(max((len(plan.questions) for plan in plans), default=0)):
        contexts: dict[int, list[Message]] = {}
        for index, plan in enumerate(plans):
            if ended[index] == "complete" and turn < len(plan.questions):
                messages = context(plan, [reply.text for reply in replies[index]], instruction_as)
                if fits(messages):
                    contexts[index] = messages
                else:
                    ended[index] = "context_full"
        for index, reply in _next_replies(plans, contexts, sample_replies, choose, max_attempts).items():
            if reply is None:
                ended[index] = "lost"
            else:
                replies[index].append(reply)
    return [Dialogue(plan, tuple(given), end) for plan, given, end in zip(plans, replies, ended, strict=True)]


def _next_replies(
    plans: Sequence[Plan],
    contexts: dict[int, list[Message]],
    sample_replies: SampleReplies,
    choose: ChooseReplies,
    max_attempts: int,
) -> dict[int, Reply | None]:
    """Return the reply to each context; only those without one are sampled again."""
    replies: dict[int, Reply | None] = {}
    for _ in range(max_attempts):
        waiting = {index: messages for index, messages in contexts.items() if replies.get(index) is None}
        if waiting:
            replies.update(_attempt(plans, waiting, sample_replies, choose))
    return replies


def _attempt(
    plans: Sequence[Plan], contexts: dict[int, list[Message]], sample_replies: SampleReplies, choose: ChooseReplies
) -> dict[int, Reply | None]:
    waiting = list(contexts.values())
    texts = sample_replies(waiting)
    num_samples, rest = divmod(len(texts), len(waiting))
    assert num_samples and not rest, f"{len(texts)} replies to {len(waiting)} contexts"
    candidates = [texts[start : start + num_samples] for start in range(0, len(texts), num_samples)]
    chosen = choose([plans[index] for index in contexts], waiting, candidates)
    return dict(zip(contexts, chosen, strict=True))


def last_turns(messages: Sequence[Message], num_earlier: int | None) -> Sequence[Message]:
    """Return the question that `messages` end with and the `num_earlier` turns before it; None for all there are."""
    return messages if num_earlier is None else messages[-1 - 2 * num_earlier :]


def turn_of(messages: Sequence[Message]) -> int:
    """Return the turn (from 1) that `messages` waits for an answer in."""
    return sum(message.role == "user" for message in messages)


def question_of(plan: Plan, messages: Sequence[Message]) -> str:
    """Return the plain question, without the instruction, that `messages` (a context of `plan`) ends with."""
    return plan.questions[turn_of(messages) - 1]


def transcript(dialogue: Dialogue, instruction_as: InstructionAs) -> dict[str, Any]:
    """Return a file row with all that was said, what was asked for, and the verdict and score of each reply."""
    messages = to_dicts(dialogue.messages(instruction_as)) if dialogue.replies else []
    verdicts = [reply.follows for reply in dialogue.replies]
    scores = [reply.score for reply in dialogue.replies]
    told = {"follows": verdicts, "scores": scores, "ended": dialogue.ended}
    return {"messages": messages, **dialogue.provenance(), **told}
