"""What `gatt.synthesize` can be told."""

from dataclasses import dataclass, field
from typing import Literal

from chat_model.engines import ENGINE_HELP, Engine
from gatt.synthesize.user_role import TOPIC, TOPICS, USER_ROLE


def _option(default, text: str):
    return field(default=default, metadata={"help": text})


@dataclass
class SynthesisConfig:
    """One field a choice; the paper's where it names one (A.3.5)."""

    model_name_or_path: str = field(metadata={"help": "the newest RLHF model: samples the assistant turns"})
    constraints: str = field(metadata={"help": "YAML list of constraints"})
    user_turns: Literal["dataset", "model"] = _option(
        "dataset", "what is asked: those of `dialogues`, or the model's own"
    )
    dialogues: str | None = _option(
        None, "conversations whose user turns are asked: a file, a folder or a hub id; only where user_turns is dataset"
    )
    user_role: str = _option(USER_ROLE, "what the model is told to play the user; {topic} is one of `topics`")
    topics: list[str] = field(
        default_factory=lambda: list(TOPICS), metadata={"help": "what such dialogues are about, each as often"}
    )
    combinations: str | None = _option(None, "rows of constraints that hold together; default: drawn at random")
    max_constraints: int = _option(3, "constraints an instruction at most, where they are drawn")
    leave_out: list[str] = field(
        default_factory=list, metadata={"help": "kinds never trained on, to be evaluated as a constraint unheard of"}
    )
    output_dir: str = _option("", "receives conversations.jsonl, transcripts.jsonl and run.json")
    reward_model: str | None = _option(None, "picks among the replies that follow the instruction; none: the first")
    num_dialogues: int = _option(1000, "dialogues to sample")
    max_turns: int = _option(20, "questions a dialogue at most")
    context_turns: int | None = _option(
        None, "earlier turns that the model sees when it answers; default: all, as in the paper"
    )
    prefixes_per_dialogue: int = _option(4, "training conversations a dialogue: prefixes that end at different turns")
    late_turn_weight: float = _option(1.0, "how often such a prefix ends at the latest turn for once at the first")
    num_samples: int = _option(4, "replies sampled a turn, of which the best is kept (K)")
    max_attempts: int = _option(1, "draws of K replies before a dialogue that lost its instruction is given up")
    temperature: float = _option(1.0, "sampling temperature")
    engine: Engine = field(default="transformers", metadata={"help": ENGINE_HELP})
    max_new_tokens: int = _option(256, "tokens a reply at most; a reply cut off there is never kept")
    train_on: Literal["last", "every"] = _option("last", "replies with loss; every: the earlier ones too, to compare")
    dialogues_per_shard: int = _option(256, "dialogues written before the next are begun: what a resume keeps")
    dialogues_per_batch: int = _option(64, "of these, dialogues that one process holds in step")
    instruction_as: Literal["system", "prefix"] = _option("system", "where training states it, in the first turn only")
    dtype: str = _option("float32", "of the weights: float32, bfloat16 or float16")
    batch_tokens: int = _option(
        16384, "tokens a batch when sampling and scoring, and of dialogues whose keys and values are kept between turns"
    )
    seed: int = _option(0, "of all draws")

    def __post_init__(self):
        if (self.user_turns == "dataset") != bool(self.dialogues):
            expected = "none, the model asks" if self.dialogues else "conversations, or user_turns: model"
            raise ValueError(f"dialogues: found {self.dialogues or 'nothing'}; expected {expected}")
        if not self.user_role.strip() or (TOPIC in self.user_role and not self.topics):
            raise ValueError("user_role: found nothing to say; expected a text, and topics for its {topic}")
        for name in (
            "num_dialogues",
            "max_turns",
            "prefixes_per_dialogue",
            "late_turn_weight",
            "num_samples",
            "max_attempts",
            "max_constraints",
            "dialogues_per_shard",
            "dialogues_per_batch",
            "max_new_tokens",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}; expected 1 or more")
        if (self.context_turns or 0) < 0:
            raise ValueError(f"context_turns: found {self.context_turns}; expected 0 or more")
