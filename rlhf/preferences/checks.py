"""What can be said of collecting preferences before it starts: its variants, its annotator, its prompts."""

from typing import Any

from chat_model.check_up import CheckUp
from chat_model.engine_checks import check_engine
from rlhf.preferences.collect import PreferencesConfig, check_settings
from rlhf.prompt_checks import check_prompts


def check(check_up: CheckUp, config: PreferencesConfig, judge_config: Any) -> None:
    """Check the two variants, that the annotator can be asked, and the prompts."""
    with check_up.check(
        "settings", "the stage would refuse them when its turn comes", "change the field that is named"
    ):
        check_settings(config, judge_config)
    check_engine(check_up, config.engine)
    if config.prompts and config.model_name_or_path:
        model = config.model_name_or_path
        check_prompts(check_up, config.prompts, model, config.max_new_tokens, config.num_prompts)
