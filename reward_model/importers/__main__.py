"""`python -m reward_model.importers --name anthropic_hh --source SOURCE --output_dir data`: import a public dataset."""

from chat_model.stage import run_as_command, run_stage


def main(argv: list[str] | None = None) -> None:
    """Run the stage with `argv`, or the command line's arguments."""
    from reward_model.importers.importing import ImportArguments, import_dataset

    run_stage("import", (ImportArguments,), import_dataset, argv)


if __name__ == "__main__":
    run_as_command(main)
