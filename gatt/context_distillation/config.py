"""What `gatt.context_distillation` can be told."""

from dataclasses import dataclass, field

from chat_model.engines import ENGINE_HELP, Engine


def _option(default, text: str):
    return field(default=default, metadata={"help": text})


@dataclass
class ContextDistillationConfig:
    """One field a choice; the paper's where it names one (section 4.2.4)."""

    model_name_or_path: str = field(metadata={"help": "the model that answers, with and without the preprompt"})
    prompts: str = field(metadata={"help": "adversarial prompts, with a column category where it is known"})
    preprompts: str = field(metadata={"help": "YAML: preprompts, adjectives, answer_templates by risk category"})
    safety_reward_model: str = field(
        metadata={"help": "tells whether the answer under the preprompt is the better one"}
    )
    output_dir: str = _option("", "receives conversations.jsonl, answers.jsonl and run.json")
    targeted: bool = _option(True, "keep an answer only where the safety reward model prefers it to the plain one")
    safety_prompts_only: bool = _option(True, "use only the prompts that are tagged is_safety")
    num_prompts: int = _option(0, "prompts to use, the first ones; 0 for all")
    num_samples: int = _option(1, "answers sampled under the preprompt, of which the safest is compared (K)")
    temperature: float = _option(1.0, "sampling temperature")
    engine: Engine = field(default="transformers", metadata={"help": ENGINE_HELP})
    max_new_tokens: int = _option(256, "tokens an answer at most; one cut off there is never kept")
    dtype: str = _option("float32", "of the weights: float32, bfloat16 or float16")
    batch_tokens: int = _option(16384, "tokens a batch when sampling and scoring")
    seed: int = _option(0, "of all draws")

    def __post_init__(self):
        for name, least in (("num_prompts", 0), ("num_samples", 1), ("max_new_tokens", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: found {getattr(self, name)}; expected {least} or more")
