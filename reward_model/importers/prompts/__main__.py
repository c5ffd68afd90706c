"""`python -m reward_model.importers.prompts --preferences FILE … --output_dir OUT`: the prompts of imported data."""

from chat_model.stage import run_as_command, run_stage


def main(argv: list[str] | None = None) -> None:
    """Run the stage with `argv`, or the command line's arguments."""
    from reward_model.importers.prompts.gather import PromptArguments, gather_prompts

    run_stage("prompts", (PromptArguments,), gather_prompts, argv)


if __name__ == "__main__":
    run_as_command(main)
