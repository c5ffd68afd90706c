"""One question to an OpenAI-compatible endpoint: asked, retried, asked again where the reply cannot be read.

Waiting longer after every refused connection, timeout, 429 and 5xx is the `openai` client's own work.
"""

import hashlib
import json
from typing import Any, Protocol

from chat_model.errors import InputError
from rlhf.preferences.judge.config import JudgeConfig
from rlhf.preferences.judge.question import CORRECTION
from rlhf.preferences.unfinished import Unfinished

_GIVES_UP_AT = (401, 403, 404)  # a wrong key, model or address, which no other question would fare better with


class JudgeQuestion(Protocol):
    """What an endpoint can be asked: a request, and how its reply is read."""

    @property
    def identity(self) -> dict[str, Any]:
        """The columns by which people find the question in the file of answers."""

    def messages(self) -> list[dict[str, str]]:
        """Return the request's messages."""

    def read(self, reply: str, annotator: str) -> Any:
        """Return what `reply` says. Raises InputError where it cannot be read."""


class JudgeFailed(Unfinished):
    """The endpoint gives no answer. `is_final`: no other question would get one, either."""

    def __init__(self, message: str, is_final: bool = False):
        super().__init__(message)
        self.is_final = is_final


class Endpoint:
    """Where the judge is asked. `ask` returns one journal row a question; `key_of` is what makes two the same."""

    def __init__(self, config: JudgeConfig):
        import openai

        self.config = config
        self.name = str(config.judge_model)
        self._client = openai.AsyncOpenAI(
            api_key=config.api_key(),
            base_url=config.judge_url,
            timeout=config.judge_timeout,
            max_retries=config.judge_retries,
        )

    def key_of(self, question: JudgeQuestion) -> str:
        """Return a digest of all that the answer depends on: model, messages and request fields."""
        content = [self.config.judge_url, self.name, self.config.request_fields(), question.messages()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    async def ask(self, question: JudgeQuestion) -> dict[str, Any]:
        """Return ``{"question", …, "outcome", "reply", "requests", "prompt_tokens", …}``, the identity after its key.

        The outcome is *answered*, *refused* (no text: a content filter, or the model's refusal) or *unreadable* (no
        verdict in any of `judge_attempts` replies).

        Raises:
            JudgeFailed: no reply to be had, after all retries.
        """
        messages: list[Any] = question.messages()
        row: dict[str, Any] = {"question": self.key_of(question), **question.identity}
        row |= {"outcome": "unreadable", "reply": "", "requests": 0, "prompt_tokens": 0, "completion_tokens": 0}
        while row["outcome"] == "unreadable" and row["requests"] < self.config.judge_attempts:
            row["reply"] = reply = _note_usage(row, await self._complete(messages))
            row["outcome"], reason = _outcome(question, reply, self.name)
            correction = CORRECTION.format(reason=reason)
            messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": correction}]
        return row

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _complete(self, messages: list[Any]) -> Any:
        import openai

        try:
            return await self._client.chat.completions.create(
                model=self.name, messages=list(messages), **self.config.request_fields()
            )
        except openai.APIStatusError as error:
            if "content_filter" in str(error.code) or "content_policy" in str(error.code):
                return None
            raise self._failure(f"{error.status_code} {_first_line(error)}", error.status_code) from error
        except (openai.APIError, ValueError, TypeError) as error:
            raise self._failure(_first_line(error)) from error

    def _failure(self, reason: str, status: int | None = None) -> JudgeFailed:
        return JudgeFailed(f"judge {self.name} at {self._client.base_url}: {reason}", status in _GIVES_UP_AT)


def _note_usage(row: dict[str, Any], completion: Any) -> str:
    """Add a completion's tokens to `row` and return its text, empty where it has none."""
    row["requests"] += 1
    usage = getattr(completion, "usage", None)
    for name in ("prompt_tokens", "completion_tokens"):
        row[name] += getattr(usage, name, 0) or 0
    choices = getattr(completion, "choices", None) or []
    return (choices[0].message.content or "") if choices else ""


def _outcome(question: JudgeQuestion, reply: str, annotator: str) -> tuple[str, str]:
    if not reply.strip():
        return "refused", ""
    try:
        question.read(reply, annotator)
    except InputError as error:
        return "unreadable", str(error)
    return "answered", ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
