"""`accelerate launch -m rlhf.ppo --config ppo.yaml [--field value …]`: train a policy with PPO (section 3.2.3)."""

from chat_model.stage import StageRun, run_as_command, run_stage
from rlhf.ppo.config import PPOConfig


def main(argv: list[str] | None = None) -> None:
    """Run the stage; `argv` defaults to the command line."""
    run_stage("rlhf.ppo", (PPOConfig,), _train, argv)


def _train(run: StageRun, config: PPOConfig) -> None:
    from rlhf.ppo.train import train

    train(run, config)


if __name__ == "__main__":
    run_as_command(main)
