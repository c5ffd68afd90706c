"""What `gatt.propose` can be told."""

from dataclasses import dataclass, field

from chat_model.engines import ENGINE_HELP, Engine


def _option(default, text: str):
    return field(default=default, metadata={"help": text})


@dataclass
class ProposeConfig:
    """One field a choice."""

    model_name_or_path: str = field(metadata={"help": "the chat model to ask: the one that will sample the dialogues"})
    proposals: str = field(
        metadata={"help": "YAML list: kind, question, and the constraint's texts with {value} in them"}
    )
    output_dir: str = _option("", "receives constraints.yaml and run.json")
    num_samples: int = _option(8, "answers to each question")
    num_values: int = _option(100, "values a kind at most: those named most often")
    temperature: float = _option(1.0, "sampling temperature")
    engine: Engine = field(default="transformers", metadata={"help": ENGINE_HELP})
    max_new_tokens: int = _option(256, "tokens an answer at most")
    dtype: str = _option("float32", "of the weights: float32, bfloat16 or float16")
    batch_tokens: int = _option(16384, "tokens a batch when sampling")
    seed: int = _option(0, "of all draws")

    def __post_init__(self):
        for name in ("num_samples", "num_values", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}; expected 1 or more")
