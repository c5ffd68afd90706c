"""The command ``accelerate launch -m rlhf.rejection_sampling --config rejection_sampling.yaml [--field value …]``."""

from collections.abc import Sequence

from chat_model.stage import run_as_command, run_stage


def main(argv: Sequence[str] | None = None) -> None:
    """Sample, score and select with the arguments given."""
    from rlhf.rejection_sampling.select import RejectionSamplingConfig, select

    run_stage("rlhf.rejection_sampling", (RejectionSamplingConfig,), select, argv)


if __name__ == "__main__":
    run_as_command(main)
