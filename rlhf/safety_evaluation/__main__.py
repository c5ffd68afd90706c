"""The command ``accelerate launch -m rlhf.safety_evaluation --config safety_evaluation.yaml [--field value …]``."""

from collections.abc import Sequence

from chat_model.stage import run_as_command, run_stage


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate the safety of checkpoints with the arguments given."""
    from rlhf.preferences.judge.config import JudgeConfig
    from rlhf.safety_evaluation.config import SafetyEvaluationConfig
    from rlhf.safety_evaluation.stage import evaluate_safety

    run_stage("rlhf.safety_evaluation", (SafetyEvaluationConfig, JudgeConfig), evaluate_safety, argv)


if __name__ == "__main__":
    run_as_command(main)
