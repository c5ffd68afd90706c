"""``python -m recipes.quickstart --config world.yaml``: make the small world's files."""

from chat_model.stage import run_as_command, run_stage
from recipes.quickstart.demonstrations import DemonstrationMix
from recipes.quickstart.world import WorldConfig, build


def main(argv: list[str] | None = None) -> None:
    """Parse the configuration and write the world."""
    run_stage("world", (WorldConfig, DemonstrationMix), build, argv)


if __name__ == "__main__":
    run_as_command(main)
