"""Command: ``accelerate launch -m gatt.synthesize --config synthesize.yaml [--field value …]``."""

from chat_model.stage import run_as_command, run_stage


def main(argv: list[str] | None = None) -> None:
    """Run the stage."""
    from gatt.synthesize.config import SynthesisConfig
    from gatt.synthesize.stage import synthesize

    run_stage("gatt.synthesize", (SynthesisConfig,), synthesize, argv)


if __name__ == "__main__":
    run_as_command(main)
