"""The `rounds` command: run a recipe, see how far a run is and what it left, get data, look at models.

Nothing heavy is imported before a command needs it, so that `rounds --help` answers at once.
"""

import sys

from recipes.commands import chain, checkpoints, data, doctor, gatt, reward_models, rollouts, runs, safety
from recipes.commands.app import main

__all__ = ["chain", "checkpoints", "data", "doctor", "gatt", "main", "reward_models", "rollouts", "runs", "safety"]

if __name__ == "__main__":
    sys.exit(main())
