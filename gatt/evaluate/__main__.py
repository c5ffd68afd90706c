"""Command: ``accelerate launch -m gatt.evaluate --config evaluate.yaml [--field value …]``."""

from chat_model.stage import run_as_command, run_stage


def main(argv: list[str] | None = None) -> None:
    """Run the stage."""
    from gatt.evaluate.config import AdherenceConfig
    from gatt.evaluate.stage import evaluate

    run_stage("gatt.evaluate", (AdherenceConfig,), evaluate, argv)


if __name__ == "__main__":
    run_as_command(main)
