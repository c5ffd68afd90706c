"""The command ``accelerate launch -m sft --config sft.yaml [--field value …]``."""

from collections.abc import Sequence

from chat_model.stage import run_as_command, run_stage


def main(argv: Sequence[str] | None = None) -> None:
    """Run supervised fine-tuning with the arguments given."""
    from trl import ModelConfig, SFTConfig

    from sft.train import SFTArguments, train

    run_stage("sft", (SFTArguments, SFTConfig, ModelConfig), train, argv)


if __name__ == "__main__":
    run_as_command(main)
