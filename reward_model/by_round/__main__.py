"""The command ``python -m reward_model.by_round --config by_round.yaml [--field value …]``."""

from collections.abc import Sequence

from chat_model.stage import run_as_command, run_stage


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate reward models by round with the arguments given."""
    from reward_model.by_round.stage import ByRoundConfig, evaluate_by_round

    run_stage("reward_model.by_round", (ByRoundConfig,), evaluate_by_round, argv)


if __name__ == "__main__":
    run_as_command(main)
