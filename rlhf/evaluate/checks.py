"""What can be said of a comparison of checkpoints before it starts: its judge and its prompts (`rounds doctor`)."""

from chat_model.check_up import CheckUp
from chat_model.dotted import resolve
from chat_model.engine_checks import check_engine
from chat_model.errors import InputError
from rlhf.evaluate.compare import EvaluateConfig
from rlhf.prompt_checks import check_prompts


def check(check_up: CheckUp, config: EvaluateConfig) -> None:
    """Check that the judge can be called, that names and checkpoints match, and the prompts."""
    with check_up.check(
        "settings", "the stage would refuse them when its turn comes", "change the field that is named"
    ):
        if config.judge:
            resolve(config.judge)
        if len(set(config.names)) != len(config.checkpoints):
            raise InputError(f"names: found {config.names}; expected a different name for each of the checkpoints")
    check_engine(check_up, config.engine)
    check_prompts(check_up, config.prompts, config.checkpoints[0], config.max_new_tokens, config.num_prompts)
