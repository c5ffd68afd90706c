"""The `rounds` command: run a recipe, see how far a run is, get data, look at models.

Nothing heavy is imported before a command needs it, so that `rounds --help` answers at once.
"""

import sys

from recipes.commands import chain, data, gatt, reward_models, rollouts, safety
from recipes.commands.app import main

__all__ = ["chain", "data", "gatt", "main", "reward_models", "rollouts", "safety"]

if __name__ == "__main__":
    sys.exit(main())
