"""The command ``python -m rlhf.benchmark --model CHECKPOINT --tasks NAME … --output_dir FOLDER``."""

from collections.abc import Sequence

from chat_model.stage import run_as_command, run_stage


def main(argv: Sequence[str] | None = None) -> None:
    """Measure with the arguments given."""
    from rlhf.benchmark.stage import BenchmarkConfig, benchmark

    run_stage("rlhf.benchmark", (BenchmarkConfig,), benchmark, argv)


if __name__ == "__main__":
    run_as_command(main)
