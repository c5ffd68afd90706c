"""What `gatt.evaluate` can be told."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from chat_model.engines import ENGINE_HELP, Engine
from gatt.evaluate.scenarios import Scenario


def _option(default, text: str):
    return field(default=default, metadata={"help": text})


def _list_option(default: list, text: str):
    return field(default_factory=lambda: list(default), metadata={"help": text})


@dataclass
class AdherenceConfig:
    """One field a choice; the measured turns are those of Table 30 and the ones between."""

    model_name_or_path: str = field(metadata={"help": "the model under test"})
    dialogues: str = field(metadata={"help": "conversations whose user turns are asked: a file, a folder or a hub id"})
    constraints: str = field(metadata={"help": "YAML list of constraints, each with a checker unless there is a judge"})
    combinations: str | None = _option(None, "held-out rows of constraints that hold together")
    kinds: list[str] = _list_option([], "in their place: every constraint of these kinds, by itself")
    training_combinations: str | None = _option(None, "the rows GAtt was trained on; an error if any occurs in both")
    output_dir: str = _option("", "receives dialogues.jsonl and run.json")
    scenarios: list[str] = _list_option(["explicit"], f"what is measured: any of {', '.join(get_args(Scenario))}")
    judge: str | None = _option(None, "dotted name of a gatt.judging.Judge, for constraints without a checker")
    distractors: str | None = _option(None, "prompts to ask at the other turns; needed by the scenario distractors")
    override_turn: int = _option(3, "turn of the second instruction in the scenario override")
    num_dialogues: int = _option(200, "dialogues to hold, in each scenario")
    extend_dialogues: bool = _option(False, "go on with another dialogue's questions where one is too short")
    turns: list[int] = _list_option(
        [1, 2, 4, 6, 10, 20], "turns (from 1) at which a question puts a constraint to the test"
    )
    trained_turns: int | None = _option(None, "the longest dialogue GAtt was trained on; marked in the comparison")
    temperature: float = _option(1.0, "sampling temperature")
    engine: Engine = field(default="transformers", metadata={"help": ENGINE_HELP})
    max_new_tokens: int = _option(256, "tokens a reply at most")
    instruction_as: Literal["system", "prefix"] = _option("system", "where the first turn states it")
    dtype: str = _option("float32", "of the weights: float32, bfloat16 or float16")
    dialogues_per_batch: int = _option(64, "dialogues that one process holds in step")
    batch_tokens: int = _option(
        16384, "tokens a batch when sampling, and of dialogues whose keys and values are kept between turns"
    )
    seed: int = _option(0, "of all draws")

    def __post_init__(self):
        if not self.turns or min(self.turns) < 1:
            raise ValueError(f"turns: found {self.turns}; expected turns counted from 1")
        for name in ("num_dialogues", "max_new_tokens", "dialogues_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}; expected 1 or more")
        if (self.combinations is None) == (not self.kinds):
            raise ValueError("combinations: expected a file of them, or kinds in their place")
        unknown = [name for name in self.scenarios if name not in get_args(Scenario)]
        if unknown or not self.scenarios:
            raise ValueError(f"scenarios: found {unknown}; expected some of {', '.join(get_args(Scenario))}")
        if "distractors" in self.scenarios and not self.distractors:
            raise ValueError("distractors: found nothing; the scenario 'distractors' expects a file of prompts")
        if "override" in self.scenarios and not 2 <= self.override_turn <= max(self.turns):
            raise ValueError(f"override_turn: found {self.override_turn}; expected 2 to {max(self.turns)}")
