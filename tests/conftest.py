"""Fixtures shared by all tests: a tiny tokenizer, tiny models and their checkpoints, made once a session, and a
scripted OpenAI-compatible endpoint on loopback.
"""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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


def pytest_xdist_auto_num_workers():
    """A worker a core, four at most: each imports torch, transformers and TRL."""
    return min(4, _cores())


def pytest_configure():
    """Give each worker its share of the cores, before torch is loaded, which asks once."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // workers)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Let the commands that tests start see Ctrl-C: what runs in a shell's background inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


class ScriptedEndpoint(ThreadingHTTPServer):
    """Answers every request by `script`: its body -> a completion, a status, or (headers, bytes)."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = self.honest
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_):
        """Say nothing when a client has hung up, which is what a slow answer is there for."""

    def answer(self, body: dict[str, Any]) -> Any:
        with self._lock:
            self.bodies.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return self.script(body)
        finally:
            with self._lock:
                self._at_once -= 1

    @staticmethod
    def completion(text: str | None, **message: Any) -> dict[str, Any]:
        """The body of a chat completion of 100 prompt tokens and 10 written ones."""
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **message}}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}

    @staticmethod
    def shown(body: dict[str, Any]) -> list[str]:
        """The first and the second response in a request, as the judge is shown them."""
        text = body["messages"][1]["content"]
        return [text.split(f"<response_{side}>\n")[1].split("\n</response_")[0] for side in "ab"]

    def verdict(self, winner: str, rating: str = "better", **labels: bool) -> dict[str, Any]:
        """The completion of a judge that answers in the form it was asked for."""
        return self.completion(json.dumps({"winner": winner, "rating": rating, "note": "so it seems", **labels}))

    def honest(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of a judge without a fault: what says "good" is better, and safe."""
        first, second = ("good" in text for text in self.shown(body))
        return self.verdict("a" if first else "b", safe_a=first, safe_b=second)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keys.add(self.headers["Authorization"])
        answer = self.server.answer(body)
        status, headers, content = 200, {"Content-Type": "application/json"}, answer
        if isinstance(answer, int):
            status, content = answer, {"error": {"message": f"scripted {answer}"}}
            headers["retry-after-ms"] = "5"
        elif isinstance(answer, tuple):
            headers, content = answer
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    """A scripted endpoint that is honest until the test says otherwise."""
    with ScriptedEndpoint() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
