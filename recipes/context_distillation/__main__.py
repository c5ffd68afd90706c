"""``python -m recipes.context_distillation --answers FOLDER … --safety FOLDER …``: the table."""

from chat_model.stage import run_as_command, run_stage
from recipes.context_distillation.table import TableConfig, tabulate


def main(argv: list[str] | None = None) -> None:
    """Parse the configuration and write the table."""
    run_stage("context_distillation", (TableConfig,), tabulate, argv)


if __name__ == "__main__":
    run_as_command(main)
