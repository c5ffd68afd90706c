"""Scores kept on disk, so that no sample is scored twice by the same reward model, in this run or a later one.

A score is found by what it was computed from: the model's weights and settings, and the rendered token ids. It is the
raw score, before any calibration. SQLite keeps the file whole when a process is killed or two of them write at once.
The folder is tagged as a cache, so that no stage takes it for one of its inputs.
"""

import array
import contextlib
import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from chat_model.errors import InputError
from chat_model.stage import CACHE_TAG
from chat_model.tensor_parallel import whole

CACHE_FILE = "scores.sqlite3"
_TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Scores of reward models; may be deleted at any time.\n"
_SECONDS_TO_WAIT = 60  # for another process that is writing
_NOT_OF_THE_MODEL = ("_name_or_path", "base_model_name_or_path", "transformers_version", "inference_mode")


def text_key(token_ids: Sequence[int]) -> bytes:
    """Return a digest of rendered token ids, 32 bytes."""
    return hashlib.sha256(array.array("q", token_ids).tobytes()).digest()


def model_fingerprint(model: Any) -> bytes:
    """Return a digest of a model's weights (a LoRA adapter's too), their precision, and its settings, 32 bytes.

    Where the model was loaded from does not count, nor whether it is divided. It reads every weight: about a second for
    each GB.
    """
    settings = [model.config, *getattr(model, "peft_config", {}).values()]
    digest = hashlib.sha256("".join(map(_settings_text, settings)).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(whole(tensor).detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.digest()


def _settings_text(config: Any) -> str:
    kept = {name: value for name, value in config.to_dict().items() if name not in _NOT_OF_THE_MODEL}
    return json.dumps(kept, sort_keys=True, default=str)


class ScoreCache:
    """The scores of one model in a folder that any number of models and processes may share.

    Args:
        folder: one of its own, made when it is not there.
        fingerprint: of the model, see `model_fingerprint`.

    Raises:
        InputError: the folder's file is no score cache.
    """

    def __init__(self, folder: str | Path, fingerprint: bytes):
        self.file, self.fingerprint = Path(folder) / CACHE_FILE, fingerprint
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if not any(self.file.parent.iterdir()):
            (self.file.parent / CACHE_TAG).write_text(_TAG_TEXT, encoding="utf-8")
        with self._open() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, score REAL) WITHOUT ROWID")

    def look_up(self, keys: Iterable[bytes]) -> dict[bytes, float]:
        """Return ``{key: score}`` of those texts that this model has scored; keys are those of `text_key`."""
        with self._open() as connection:
            found = {key: connection.execute(_FIND, (self._own(key),)).fetchone() for key in keys}
        return {key: row[0] for key, row in found.items() if row is not None}

    def store(self, scores: Mapping[bytes, float]) -> None:
        """Keep ``{key: score}``, all or none of it; a score that is no number is left out."""
        rows = [(self._own(key), score) for key, score in scores.items() if math.isfinite(score)]
        with self._open() as connection:
            connection.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?)", rows)

    def _own(self, key: bytes) -> bytes:
        return hashlib.sha256(self.fingerprint + key).digest()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose changes are written together at the end, or not at all."""
        try:
            with contextlib.closing(sqlite3.connect(self.file, timeout=_SECONDS_TO_WAIT)) as connection, connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.file}: cannot be used as score cache ({error}); delete it or wait") from error


_FIND = "SELECT score FROM scores WHERE key = ?"
