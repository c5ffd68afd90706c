"""``python -m recipes.ghost_attention --before FOLDER --after FOLDER …``: the tables of a run, and its bars."""

from chat_model.stage import run_as_command, run_stage
from recipes.ghost_attention.tables import TablesConfig, tabulate


def main(argv: list[str] | None = None) -> None:
    """Parse the configuration and write the tables."""
    run_stage("ghost_attention", (TablesConfig,), tabulate, argv)


if __name__ == "__main__":
    run_as_command(main)
