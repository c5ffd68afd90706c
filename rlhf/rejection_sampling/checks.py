"""What can be said of rejection sampling before it starts: its settings, its prompts, its judges (`rounds doctor`)."""

from chat_model.check_up import CheckUp
from chat_model.dotted import resolve
from chat_model.engine_checks import check_engine
from rlhf.prompt_checks import check_prompts
from rlhf.rejection_sampling.config import RejectionSamplingConfig, check_config
from rlhf.reward_checks import check_reward_models


def check(check_up: CheckUp, config: RejectionSamplingConfig) -> None:
    """Check settings, prompts, template and both reward models."""
    with check_up.check(
        "settings", "the stage would refuse them when its turn comes", "change the field that is named"
    ):
        check_config(config)
        if config.judge:
            resolve(config.judge)
    check_engine(check_up, config.engine)
    prompts = check_prompts(
        check_up, config.prompts, config.model_name_or_path, config.max_new_tokens, config.num_prompts
    )
    check_reward_models(check_up, config.helpfulness_reward_model, config.safety_reward_model, prompts)
