"""What can be said of a synthesis of dialogues before it starts: its questions and its constraints."""

from chat_model.check_up import CheckUp
from chat_model.engine_checks import check_engine
from gatt.dialogue_checks import check_dialogues
from gatt.synthesize.config import SynthesisConfig


def check(check_up: CheckUp, config: SynthesisConfig) -> None:
    """Check dialogues, constraints and combinations, and the template of the model that answers."""
    check_engine(check_up, config.engine)
    combinations = [config.combinations] if config.combinations else []
    check_dialogues(check_up, config.dialogues, config.constraints, combinations, config.model_name_or_path)
