"""Command: ``accelerate launch -m gatt.synthesize --config synthesize.yaml [--field value …]``."""

from pathlib import Path

from chat_model.stage import run_as_command, run_stage


def main(argv: list[str] | None = None) -> None:
    """Run the stage."""
    from gatt.synthesize.config import SynthesisConfig
    from gatt.synthesize.stage import synthesize

    run_stage("gatt.synthesize", (SynthesisConfig,), synthesize, argv, is_worth_keeping=_has_shards)


def _has_shards(folder: Path) -> bool:
    from gatt.synthesize.shards import has_shards

    return has_shards(folder)


if __name__ == "__main__":
    run_as_command(main)
