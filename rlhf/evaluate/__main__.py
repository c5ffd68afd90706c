"""The command ``accelerate launch -m rlhf.evaluate --config evaluate.yaml [--field value …]``."""

from collections.abc import Sequence

from chat_model.stage import run_as_command, run_stage


def main(argv: Sequence[str] | None = None) -> None:
    """Compare checkpoints with the arguments given."""
    from rlhf.evaluate.compare import EvaluateConfig, compare

    run_stage("rlhf.evaluate", (EvaluateConfig,), compare, argv)


if __name__ == "__main__":
    run_as_command(main)
