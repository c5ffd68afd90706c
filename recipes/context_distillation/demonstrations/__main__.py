"""``python -m recipes.context_distillation.demonstrations --preprompts preprompts.yaml``: write them."""

from chat_model.stage import run_as_command, run_stage
from recipes.context_distillation.demonstrations.careful import CarefulConfig, demonstrate_carefully


def main(argv: list[str] | None = None) -> None:
    """Parse the configuration and write the demonstrations."""
    run_stage("careful_demonstrations", (CarefulConfig,), demonstrate_carefully, argv)


if __name__ == "__main__":
    run_as_command(main)
