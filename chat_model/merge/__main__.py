"""The command ``python -m chat_model.merge --adapter FOLDER --output_dir FOLDER``."""

from collections.abc import Sequence

from chat_model.stage import run_as_command, run_stage


def main(argv: Sequence[str] | None = None) -> None:
    """Merge with the arguments given."""
    from chat_model.merge.stage import MergeConfig, merge

    run_stage("chat_model.merge", (MergeConfig,), merge, argv)


if __name__ == "__main__":
    run_as_command(main)
