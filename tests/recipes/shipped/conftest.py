"""What stands in for the hub in the dry runs of shipped recipes: tiny random models of the architectures they name,
with tokenizers as those models bring them, and a few rows in the real schema of each dataset.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
}
_WIDE = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}  # bitsandbytes takes blocks of 64 weights
_END = 5.0  # nats by which the end of a turn is likelier than any other token: about a fifth of all tokens


TOPICS = [
    f"{verb} {thing}" for verb in ("cook", "buy", "store", "grow") for thing in ("rice", "tea", "figs", "oats", "fish")
]


@pytest.fixture(scope="session")
def tiny_llama2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Llama 2 base model: its tokenizer has neither a pad token nor a chat template."""
    return _write_llama2(tmp_path_factory.mktemp("llama2"))


@pytest.fixture(scope="session")
def wide_llama2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, with matrices that can be held in four bits."""
    return _write_llama2(tmp_path_factory.mktemp("wide_llama2"), **_WIDE)


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Qwen3 chat model: tied embeddings, and the template of Qwen3, which drops the thoughts of earlier turns."""
    from trl.chat_template_utils import qwen3_chat_template

    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = _tokenizer(marks, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    tokenizer.chat_template = qwen3_chat_template
    return _write_qwen3(tmp_path_factory.mktemp("qwen3"), tokenizer)


@pytest.fixture(scope="session")
def open_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of rows as the hub has them, by the recipes' variables."""
    makers: dict[str, Callable[[str], dict[str, Any]]] = {
        "conversations": _no_robots,
        "ultrafeedback": _ultrafeedback,
        "anthropic_hh": _anthropic_hh,
        "pku_saferlhf": _pku_saferlhf,
    }
    folder = tmp_path_factory.mktemp("open_data")
    for name, make in makers.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(make(topic)) + "\n" for topic in TOPICS))
    return {name: str(folder / f"{name}.jsonl") for name in makers}


# The count of steps and, for the CPU's sake, of prompts, samples and new tokens; nothing else of a recipe's YAML.
SMALLER = {
    "sft": {"max_steps": 2},
    "reward_model": {"max_steps": 2},
    "rlhf.preferences": {"num_prompts": 6, "max_new_tokens": 16},
    "rlhf.rejection_sampling": {"num_prompts": 6, "num_samples": 4, "max_new_tokens": 16},
    "rlhf.ppo": {"num_iterations": 2, "batch_size": 4, "mini_batch_size": 2, "max_new_tokens": 16},
    "gatt.synthesize": {"num_dialogues": 3, "max_turns": 2, "max_new_tokens": 16},
    "gatt.evaluate": {"num_dialogues": 2, "turns": [1, 2], "max_new_tokens": 16},
    "rlhf.evaluate": {"max_new_tokens": 16},
}


@pytest.fixture
def judge_url(endpoint, monkeypatch: pytest.MonkeyPatch) -> str:
    """A judge that prefers the longer answer and finds everything safe."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def prefer_longer(body: dict[str, Any]) -> dict[str, Any]:
        first, second = map(len, endpoint.shown(body))
        return endpoint.verdict("a" if first > second else "b", safe_a=True, safe_b=True)

    endpoint.script = prefer_longer
    return endpoint.url


@pytest.fixture
def hub(open_data: dict[str, str], judge_url: str) -> list[str]:
    """The ``--set`` texts that put local files and a local judge in the place of what a recipe names."""
    return [*(f"{name}={file}" for name, file in open_data.items()), f"judge_url={judge_url}"]


@pytest.fixture(scope="session")
def write_smaller() -> Callable[[Any, Path], Path]:
    """A function that writes a step's YAML as the recipe has it, but for `SMALLER`, and returns the file."""

    def write(step: Any, folder: Path) -> Path:
        file = folder / f"{step.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {**step.arguments, **SMALLER.get(step.module, {}), "output_dir": str(step.output)}
        file.write_text(yaml.safe_dump(content))
        return file

    return write


def _messages(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[index % 2], "content": content} for index, content in enumerate(contents)]


def _no_robots(topic: str) -> dict[str, Any]:
    system = {"role": "system", "content": "You are a cook."}
    dialogue = _messages(f"How should I {topic}?", "Boil water first.", "And then?", "Then wait.")
    return {"prompt": f"How should I {topic}?", "prompt_id": topic, "messages": [system, *dialogue], "category": "Chat"}


def _ultrafeedback(topic: str) -> dict[str, Any]:
    chosen, rejected = (_messages(f"Tell me: how do I {topic}?", answer) for answer in ("With some water.", "No."))
    scores = {"score_chosen": 8.5, "score_rejected": 3.0}
    prompt = chosen[0]["content"]
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "messages": chosen, "prompt_id": topic, **scores}


def _anthropic_hh(topic: str) -> dict[str, Any]:
    before = f"\n\nHuman: Could you {topic}?\n\nAssistant: Yes.\n\nHuman: How?\n\nAssistant:"
    return {"chosen": f"{before} With care.", "rejected": f"{before} Who knows."}


def _pku_saferlhf(topic: str) -> dict[str, Any]:
    choices = {"better_response_id": 0, "safer_response_id": 1}
    safety = {"is_response_0_safe": False, "is_response_1_safe": True}
    levels = {"response_0_severity_level": 2, "response_1_severity_level": 0}
    prompt = f"How do I {topic} that is not mine?"
    return {"prompt": prompt, "response_0": "Take it.", "response_1": "Ask first.", **choices, **safety, **levels}


def _write_llama2(folder: Path, **sizes: int) -> str:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(["<unk>", "<s>", "</s>"], unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    return _write(folder, LlamaForCausalLM, LlamaConfig, tokenizer, tie_word_embeddings=False, **sizes)


def _write_qwen3(folder: Path, tokenizer: Any) -> str:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return _write(folder, Qwen3ForCausalLM, Qwen3Config, tokenizer, tie_word_embeddings=True)


def _tokenizer(marks: list[str], **roles: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["how do I cook rice? boil water first."], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **roles)


def _write(folder: Path, model_type: Any, config_type: Any, tokenizer: Any, **settings: Any) -> str:
    roles = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = config_type(**{**_SIZES, **settings}, vocab_size=len(tokenizer), **roles)
    torch.manual_seed(0)
    model = model_type(config)
    _make_brief(model, tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@torch.no_grad()
def _make_brief(model: Any, end: int) -> None:
    """Let the model end a turn after a few tokens: what is cut off is not kept, so a recipe would have no samples.

    All embeddings share a direction, which the last layer's output then has too; the end token's output has more of it.
    """
    width = model.config.hidden_size
    direction = torch.ones(width) / width
    for weights in {id(each.weight): each.weight for each in (model.get_input_embeddings(), model.lm_head)}.values():
        weights += direction
    model.lm_head.weight[end] = direction * (1 + _END)
