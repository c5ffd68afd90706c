"""The stage: score every round's held-out preferences with every round's reward models, and tabulate the accuracies.

Preferences are collected with the newest model, so they move from round to round, and a reward model is at its best on
those it was trained on (section 3.2.2). The table shows how far an earlier model falls behind on later preferences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chat_model.conversation import PreferencePair
from chat_model.errors import InputError
from chat_model.rows import write_json
from chat_model.stage import StageRun
from reward_model.evaluate.accuracy import accuracy_by_rating
from reward_model.evaluate.scored_pairs import ScoredPairs, score_pairs
from reward_model.evaluate.stage import read_held_out
from reward_model.scoring import RewardScorer
from reward_model.training_record import Training, read_training

TABLE_FILE = "by_round.json"
Cell = dict[str, Any]  # accuracy by rating, see `accuracy_by_rating`


@dataclass
class ByRoundConfig:
    """Which reward models and which preferences, each with the round that it comes from."""

    reward_models: list[str] = field(metadata={"help": "Folders of reward models that the stage reward_model wrote."})
    model_rounds: list[str] = field(metadata={"help": "The round of each reward model, in the same order."})
    preferences: list[str] = field(metadata={"help": "Preference files, folders or hub ids."})
    preference_rounds: list[str] = field(metadata={"help": "The round of each, in order; several may share one."})
    output_dir: str = field(metadata={"help": "Folder to write to."})
    dtype: str = field(default="float32", metadata={"help": "Precision of the models."})
    batch_tokens: int | None = field(
        default=None, metadata={"help": "Tokens in a forward pass, padding included; default: what suits the device."}
    )
    score_cache: str | None = field(default=None, metadata={"help": "Folder of scores kept between runs."})
    seed: int = field(default=0, metadata={"help": "Taken as by every stage; nothing here is random."})

    def __post_init__(self) -> None:
        """Refuse lists that do not go together."""
        for names, rounds in (("reward_models", "model_rounds"), ("preferences", "preference_rounds")):
            found, expected = len(getattr(self, rounds)), len(getattr(self, names))
            if found != expected:
                raise InputError(f"{rounds}: found {found} for {expected} {names}; expected one for each")


def evaluate_by_round(run: StageRun, config: ByRoundConfig) -> None:
    """Record ``by_round``: ``{domain: {round of the model: {round of the preferences: accuracy with interval}}}``.

    Each model is held against the pairs of its own domain whose prompts its own training held out; its record says
    which. A round without such pairs is left out of its row. `by_round.json` has the accuracies by rating.

    Raises:
        InputError: a folder without the record of a reward model, one trained without a share held out, a bad row.
    """
    table: dict[str, dict[str, dict[str, Cell]]] = {}
    for model, model_round in zip(config.reward_models, config.model_rounds, strict=True):
        training = read_training(model)
        pairs = _pairs_by_round(config, training)
        scorer = RewardScorer.from_checkpoint(model, config.batch_tokens, config.dtype, cache=config.score_cache)
        table.setdefault(training.domain, {})[model_round] = accuracies(pairs, scorer)
        run.count(**{f"held_out_{training.domain}": {name: len(those) for name, those in pairs.items()}})
    run.record(by_round=_overall(table))
    if run.is_main:
        write_json(run.folder / TABLE_FILE, table)


def accuracies(pairs: Mapping[str, Sequence[PreferencePair]], scorer: RewardScorer) -> dict[str, Cell]:
    """Return for each round the accuracy by rating over its `pairs`; all are scored together."""
    scored = score_pairs([pair for those in pairs.values() for pair in those], scorer)
    cells, start = {}, 0
    for name, those in pairs.items():
        part: ScoredPairs = scored.take(range(start, start + len(those)))
        cells[name] = accuracy_by_rating(part.pairs, part.gaps.tolist())
        start += len(those)
    return cells


def _pairs_by_round(config: ByRoundConfig, training: Training) -> dict[str, list[PreferencePair]]:
    """Return the held-out pairs of the model's domain by round, without rounds that have none."""
    files: dict[str, list[str]] = {}
    for file, name in zip(config.preferences, config.preference_rounds, strict=True):
        files.setdefault(name, []).append(file)
    held_out = {name: read_held_out(those, training.test_share, training.seed)[0] for name, those in files.items()}
    own = {
        name: [pair for pair in those if training.domain in ("all", pair.domain)] for name, those in held_out.items()
    }
    found = {name: those for name, those in own.items() if those}
    if not found:
        raise InputError(f"preferences: no round has a held-out pair of domain {training.domain}")
    return found


def _overall(table: Mapping[str, Mapping[str, Mapping[str, Cell]]]) -> dict[str, Any]:
    return {
        domain: {model: {name: cell["all"] for name, cell in cells.items()} for model, cells in rows.items()}
        for domain, rows in table.items()
    }
