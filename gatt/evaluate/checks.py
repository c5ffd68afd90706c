"""What can be said of a measurement of adherence before it starts: its questions, constraints and combinations."""

from chat_model.check_up import CheckUp
from chat_model.engine_checks import check_engine
from gatt.dialogue_checks import check_dialogues
from gatt.evaluate.config import AdherenceConfig


def check(check_up: CheckUp, config: AdherenceConfig) -> None:
    """Check dialogues, constraints and combinations, and the template of the model under test."""
    check_engine(check_up, config.engine)
    combinations = [config.combinations, *([config.training_combinations] if config.training_combinations else [])]
    check_dialogues(check_up, config.dialogues, config.constraints, combinations, config.model_name_or_path)
