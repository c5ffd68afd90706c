"""What a reward model's own `run.json` says of its training: what it judges, and which prompts it never saw."""

import json
from dataclasses import dataclass
from pathlib import Path

from chat_model.conversation import PreferencePair
from chat_model.errors import InputError
from chat_model.stage import RUN_FILE
from reward_model.mixing import is_held_out, opening


@dataclass(frozen=True)
class Training:
    """The domain that a reward model judges, and the draw of the prompts that its training held out."""

    domain: str
    test_share: float
    seed: int

    def held_out(self, pair: PreferencePair) -> bool:
        """Whether the training saw no pair with this one's opening."""
        return is_held_out(opening(pair.prompt), self.test_share, self.seed)


def read_training(model: str | Path) -> Training:
    """Return what the `run.json` of a reward model's folder says of its training. Raises InputError."""
    file = Path(model) / RUN_FILE
    try:
        config = json.loads(file.read_text(encoding="utf-8"))["config"]
        training = Training(config["domain"], config["test_share"], config["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{file}: no record of a reward model's training; expected what `reward_model` wrote"
        ) from None
    if config.get("test_preferences"):
        raise InputError(f"{file}: trained with test_preferences, so no prompt of its preferences was held out")
    return training
