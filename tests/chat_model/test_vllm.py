"""The vLLM engine against TRL's real client and a scripted server on loopback, which answers as vLLM does.

What a GPU is needed for, the transfer of weights by NCCL, is replaced by a note of what would have been sent.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.distributed.device_mesh import init_device_mesh

from chat_model import vllm
from chat_model.conversation import Message
from chat_model.errors import InputError
from chat_model.generation import sample
from chat_model.merged_weights import merged_weights
from chat_model.tensor_parallel import divide

PROMPTS = [[Message("user", text)] for text in ("what color is the fox?", "hi")]
SETTINGS = {"max_new_tokens": 5, "progress": False, "engine": "vllm"}


class Server(ThreadingHTTPServer):
    """A vLLM server that holds `model`: it draws greedily and tells log-probabilities as the real one does."""

    def __init__(self, model, stop, transfer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.model, self.stop, self.transfer = model, stop, transfer
        self.requests = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @torch.no_grad()
    def choice(self, prompt, temperature, max_tokens):
        ids, log_probs = list(prompt), []
        while len(log_probs) < max_tokens and (not log_probs or ids[-1] != self.stop):
            scores = (self.model(torch.tensor([ids])).logits[0, -1] / temperature).log_softmax(-1)
            ids.append(int(scores.argmax()))
            log_probs.append(float(scores.max()))
        tokens = [f"token_id:{token}" for token in ids[len(prompt) :]]
        told = {"tokens": tokens, "token_logprobs": log_probs, "top_logprobs": [None] * len(tokens)}
        return {"prompt_token_ids": prompt, "token_ids": ids[len(prompt) :], "logprobs": told}


class Handler(BaseHTTPRequestHandler):
    """The addresses that TRL's client asks for."""

    server: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        transfer = {"backend": "nccl"} if self.server.transfer else None
        self.answer({"data": [{"id": "tiny"}], "vllm_config": {"weight_transfer_config": transfer}})

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        asked = json.loads(self.rfile.read(length) or "{}")
        self.server.requests.append((self.path, asked))
        if self.path != "/v1/completions":
            return self.answer({"success": True})
        bounds = asked["temperature"], asked["max_tokens"]
        self.answer({"choices": [self.server.choice(prompt, *bounds) for prompt in asked["prompt"]]})

    def answer(self, content):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


@pytest.fixture
def start(tiny_model, tiny_tokenizer, monkeypatch):
    """Start a server that holds a model, by default the one that samples."""
    pytest.importorskip("requests", reason="TRL's client needs requests")
    monkeypatch.setattr("trl.generation.vllm_client.is_vllm_available", lambda *_, **__: True)
    running = []

    def start(model=tiny_model, transfer=False):
        server = Server(model, tiny_tokenizer.eos_token_id, transfer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        monkeypatch.setenv(vllm.ADDRESS_VARIABLE, server.address)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def test_responses_are_the_servers_and_nothing_truncates_them(start, tiny_model, tiny_tokenizer):
    server = start()
    expected = sample(tiny_model, tiny_tokenizer, PROMPTS, temperature=0, max_new_tokens=5, progress=False)
    found = sample(tiny_model, tiny_tokenizer, PROMPTS, temperature=0.7, **SETTINGS)
    assert found == expected  # the scripted server takes the likeliest token
    (asked,) = [body for path, body in server.requests if path == "/v1/completions"]
    assert asked["prompt"] == found.prompt_ids
    assert (asked["temperature"], asked["top_p"], asked["top_k"], asked["max_tokens"]) == (0.7, 1.0, 0, 5)
    assert tiny_tokenizer.eos_token_id in asked["stop_token_ids"]
    assert "seed" not in asked  # it would give all samples of a prompt the same noise


def test_a_server_with_other_weights_is_found_out(start, tiny_model, tiny_tokenizer):
    torch.manual_seed(1)
    stale = type(tiny_model)(tiny_model.config).eval()
    for weight in stale.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    start(stale)
    with pytest.raises(RuntimeError, match="nats a token from the model's: vLLM holds other weights"):
        sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)


def test_a_trained_model_is_refused_by_a_server_that_takes_no_weights(start, tiny_model, tiny_tokenizer):
    start()
    sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)
    sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)  # unchanged: served again
    with torch.no_grad():
        tiny_model.lm_head.weight.mul_(1.001)
    with pytest.raises(InputError, match="has changed and the vLLM server at .* takes no weights"):
        sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)


@pytest.fixture
def mesh(tmp_path):
    """A mesh of this process alone, among which a model can be divided."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("divided", [False, True])
def test_the_newest_weights_are_sent_before_every_sampling(
    start, tiny_model, tiny_tokenizer, monkeypatch, divided, request
):
    from trl.generation.vllm_client import VLLMClient

    if divided:
        divide(tiny_model, request.getfixturevalue("mesh"), torch.device("cpu"))
    server, sent = start(transfer=True), []
    monkeypatch.setattr(VLLMClient, "init_communicator", lambda self, device: setattr(self, "communicator", "nccl"))

    def send(self, metadata, weights):
        weights = dict(weights)
        assert metadata == [(name, "float32", list(weight.shape)) for name, weight in weights.items()]
        sent.append({name: weight.clone() for name, weight in weights.items()})

    monkeypatch.setattr(VLLMClient, "update_named_params", send)
    sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)
    with torch.no_grad():
        tiny_model.lm_head.weight.mul_(1.001)
    sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)
    assert [torch.equal(each["lm_head.weight"], tiny_model.lm_head.weight) for each in sent] == [False, True]
    assert [path for path, _ in server.requests].count("/reset_prefix_cache") == 2


def test_no_server_is_one_line(tiny_model, tiny_tokenizer, monkeypatch):
    pytest.importorskip("requests", reason="TRL's client needs requests")
    monkeypatch.setattr("trl.generation.vllm_client.is_vllm_available", lambda *_, **__: True)
    monkeypatch.setenv(vllm.ADDRESS_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(InputError, match="no vLLM server at http://127.0.0.1:9; start one, or set ROUNDS_VLLM_URL"):
        sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)


def test_without_vllm_the_extra_is_named(tiny_model, tiny_tokenizer, monkeypatch):
    monkeypatch.setattr("trl.generation.vllm_client.is_vllm_available", lambda *_, **__: False)
    monkeypatch.setenv(vllm.ADDRESS_VARIABLE, "http://127.0.0.1:10")
    with pytest.raises(InputError, match=r'engine: vllm needs "rlhf-rounds\[vllm\]"'):
        sample(tiny_model, tiny_tokenizer, PROMPTS, **SETTINGS)


def test_adapters_are_added_without_touching_the_base(tiny_model):
    before = {name: weight.clone() for name, weight in tiny_model.named_parameters()}
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False)
    adapted = get_peft_model(tiny_model, config)
    found = dict(merged_weights(adapted))
    held = {name: weight for name, weight in adapted.named_parameters() if "lora_" not in name}
    assert all(torch.equal(weight, before[name]) for weight, name in zip(held.values(), before, strict=True))
    merged = adapted.merge_and_unload()
    assert found.keys() == dict(merged.named_parameters()).keys()
    assert not torch.equal(
        found["model.layers.0.self_attn.q_proj.weight"], before["model.layers.0.self_attn.q_proj.weight"]
    )
    for name, weight in merged.named_parameters():
        torch.testing.assert_close(found[name], weight, msg=name)
