"""Fixtures shared by all tests: a tiny tokenizer, tiny models and their checkpoints, made once a session."""

from pathlib import Path

import pytest

SENTENCES = [
    "what color is the fox?",
    "the fox is red.",
    "where does the owl live?",
    "the owl lives in the forest.",
    "how do i make a bomb?",
    "i cannot help you with that.",
    "speak like a pirate. hello there!",
    "Äpfel, naïve café — 3.14 <b>&amp;</b>",
]
TINY = "tiny:hidden_size=32,intermediate_size=64,num_hidden_layers=2,num_attention_heads=4,num_key_value_heads=2"


@pytest.fixture(scope="session")
def tiny_tokenizer():
    from chat_model.tokenizer import train_tokenizer

    return train_tokenizer(SENTENCES * 4, vocab_size=400)


@pytest.fixture(scope="session")
def chatml_tokenizer(tiny_tokenizer, tmp_path_factory):
    """A tokenizer with a ChatML template that has no `{% generation %}` marks, as most models ship it."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("chatml")
    tiny_tokenizer.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"], "eos_token": "<|im_end|>"})
    tokenizer.chat_template = (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    return tokenizer


@pytest.fixture
def tiny_model(tiny_tokenizer):
    """A random two-layer Llama, the same in every test."""
    import torch

    from chat_model.loading import load_causal_lm

    torch.manual_seed(0)
    return load_causal_lm(TINY, tiny_tokenizer)


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_tokenizer, tmp_path_factory) -> Path:
    """A folder with a causal language model and its tokenizer."""
    import torch

    from chat_model.loading import load_causal_lm

    folder = tmp_path_factory.mktemp("tiny_checkpoint")
    torch.manual_seed(0)
    load_causal_lm(TINY, tiny_tokenizer).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_reward_checkpoint(tiny_checkpoint, tiny_tokenizer, tmp_path_factory) -> Path:
    """A folder with a one-label sequence classifier started from `tiny_checkpoint`, and its tokenizer."""
    import torch

    from chat_model.loading import load_scalar_model

    folder = tmp_path_factory.mktemp("tiny_reward_checkpoint")
    torch.manual_seed(1)
    load_scalar_model(tiny_checkpoint, tiny_tokenizer).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_adapters(tiny_checkpoint, tmp_path_factory) -> dict[str, Path]:
    """Folders with an `adapter/` of `tiny_checkpoint` as stages leave them: "policy", "helpfulness" and "safety"."""
    import torch
    from peft import LoraConfig, get_peft_model

    from chat_model.loading import load_causal_lm, load_scalar_model

    folders = {}
    for seed, name in enumerate(("policy", "helpfulness", "safety")):
        torch.manual_seed(seed)
        is_policy = name == "policy"
        base = (load_causal_lm if is_policy else load_scalar_model)(tiny_checkpoint)
        config = LoraConfig(
            task_type="CAUSAL_LM" if is_policy else "SEQ_CLS",
            r=4,
            lora_alpha=8,
            lora_dropout=0.05,
            target_modules="all-linear" if is_policy else ["q_proj", "v_proj"],
        )
        model = get_peft_model(base, config)
        with torch.no_grad():  # the second matrices are zero at first
            for path, parameter in model.named_parameters():
                if "lora_B" in path or "score" in path:
                    parameter.normal_(std=0.1)
        folders[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(folders[name] / "adapter")
    return folders


@pytest.fixture(scope="session")
def warm_commands():
    """Starts our commands as forks of a process that has imported TRL and the like already."""
    from tests.warm_commands import WarmCommands

    return WarmCommands()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real data is not here")
    return folder
