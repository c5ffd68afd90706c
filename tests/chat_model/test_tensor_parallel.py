"""A model that two processes hold together samples, scores and holds dialogues as a whole one does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

from chat_model.conversation import Message
from chat_model.engines import TENSOR_PARALLEL
from chat_model.errors import InputError
from chat_model.generation import sample
from chat_model.loading import load_causal_lm, load_chat_model, load_tokenizer
from chat_model.model_size import read_shape
from chat_model.tensor_parallel import plan_of
from reward_model.scoring import RewardScorer

# Four processes, two to a replica; what the two of a replica compute is compared on the way.
SCRIPT = """
import json, os, sys
import torch
from torch.distributed.tensor import DTensor
from chat_model.conversation import Message
from chat_model.generation import sample
from chat_model.loading import load_chat_model
from chat_model.processes import process_state
from chat_model.tensor_parallel import replica_of
from reward_model.score_cache import model_fingerprint
from reward_model.scoring import RewardScorer

state = process_state()
policy, reward_model, cache, output, told = *sys.argv[1:5], json.loads(sys.argv[5])
model, tokenizer = load_chat_model(policy)
scorer = RewardScorer.from_checkpoint(reward_model, batch_tokens=60, cache=cache)
divided = [name for name, weight in model.named_parameters() if isinstance(weight, DTensor)]
prompts = [[Message("user", text)] for text in told["prompts"]]
drawn = sample(model, tokenizer, prompts, **told["settings"])
own = sample(model, tokenizer, prompts[replica_of(model).number :: 2], across_processes=False, **told["settings"])
answered = [[*prompt, Message("assistant", text)] for prompt in prompts for text in told["answers"]]
rows = []
score_batch = scorer._score_batch
scorer._score_batch = lambda groups: rows.append(sum(map(len, groups))) or score_batch(groups)
scores = scorer.score(answered, across_processes=True).tolist()
group = torch.distributed.distributed_c10d._get_default_group()
result = {
    "patience": group._get_backend(torch.device("cpu")).options._timeout.total_seconds(),
    "leads": replica_of(model).leads,
    "divided": len(divided),
    "drawn": [drawn.response_ids, drawn.texts],
    "own": own.response_ids,
    "scores": scores,
    "own_scores": scorer.score([answered[state.process_index // 2]]).tolist(),
    "rows": sum(rows),
    "fingerprint": model_fingerprint(scorer.model).hex(),
    "weights": sum(weight.to_local().numel() if isinstance(weight, DTensor) else weight.numel()
                   for weight in model.parameters()),
}
with open(f"{output}.{state.process_index}", "w") as file:
    json.dump(result, file)
state.wait_for_everyone()
state.destroy_process_group()
sys.stderr.flush()
os._exit(0)  # at the interpreter's own end gloo's threads abort now and then
"""
PROMPTS = ["what color is the fox?", "hi", "where does the owl live? please tell me.", "the owl", "hello there"]
ANSWERS = ["red.", "it is very very red.", "no"]
SETTINGS = {"num_samples": 3, "max_new_tokens": 5, "seed": 4, "batch_tokens": 60, "progress": False}


@pytest.fixture(scope="module")
def divided(tiny_checkpoint, tiny_reward_checkpoint, tmp_path_factory):
    """What each of the four processes found."""
    folder = tmp_path_factory.mktemp("divided")
    (folder / "divide.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "4"]
    told = json.dumps({"prompts": PROMPTS, "answers": ANSWERS, "settings": SETTINGS})
    paths = [folder / "divide.py", tiny_checkpoint, tiny_reward_checkpoint, folder / "cache", folder / "found"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", TENSOR_PARALLEL: "2"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [*launch, *map(str, paths), told], capture_output=True, text=True, timeout=200, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads((folder / f"found.{rank}").read_text()) for rank in range(4)]


def test_processes_wait_a_day_for_each_other(divided):
    """The main process may ask a judging model for hours; ten minutes is what NCCL would give it."""
    assert {found["patience"] for found in divided} == {24 * 60 * 60}


def test_each_process_holds_half_of_every_linear_layer(divided, tiny_checkpoint):
    model, _ = load_chat_model(tiny_checkpoint)
    layers = sum(weight.numel() for name, weight in model.named_parameters() if "proj" in name)
    whole = sum(weight.numel() for weight in model.parameters())
    assert [found["leads"] for found in divided] == [True, False, True, False]
    assert {found["divided"] for found in divided} == {7 * model.config.num_hidden_layers}
    assert {found["weights"] for found in divided} == {whole - layers // 2}


def test_samples_are_those_of_a_whole_model(divided, tiny_checkpoint):
    model, tokenizer = load_chat_model(tiny_checkpoint)
    prompts = [[Message("user", text)] for text in PROMPTS]
    alone = sample(model, tokenizer, prompts, **SETTINGS)
    for number, found in enumerate(divided):
        assert found["drawn"] == [alone.response_ids, alone.texts]
        own = sample(model, tokenizer, prompts[number // 2 :: 2], **SETTINGS)
        assert found["own"] == own.response_ids


def test_scores_are_those_of_a_whole_model(divided, tiny_reward_checkpoint):
    scorer = RewardScorer.from_checkpoint(tiny_reward_checkpoint, batch_tokens=60)
    prompts = [[Message("user", text)] for text in PROMPTS]
    alone = scorer.score([[*prompt, Message("assistant", text)] for prompt in prompts for text in ANSWERS])
    for number, found in enumerate(divided):
        torch.testing.assert_close(torch.tensor(found["scores"]), alone, atol=1e-5, rtol=1e-5)
        assert found["own_scores"] == pytest.approx([alone[number // 2].item()], abs=1e-5)


def test_a_text_is_scored_once_and_found_again(divided, tiny_reward_checkpoint):
    from reward_model.score_cache import model_fingerprint

    assert sum(found["rows"] for found in divided if found["leads"]) == len(PROMPTS) * len(ANSWERS)
    whole = RewardScorer.from_checkpoint(tiny_reward_checkpoint).model
    assert {found["fingerprint"] for found in divided} == {model_fingerprint(whole).hex()}


def test_the_planner_counts_what_a_process_holds(divided, tiny_checkpoint):
    assert {found["weights"] for found in divided} == {read_shape(tiny_checkpoint).divided(2).causal_lm}


@pytest.mark.parametrize("found", ["0", "two", "3"])
def test_processes_that_cannot_hold_a_model_together(tiny_checkpoint, monkeypatch, found):
    monkeypatch.setenv(TENSOR_PARALLEL, found)
    with pytest.raises(InputError, match=f"{TENSOR_PARALLEL}: found '?{found}"):
        load_chat_model(tiny_checkpoint)


def test_a_scorer_that_is_given_a_device_is_whole(tiny_reward_checkpoint, monkeypatch):
    monkeypatch.setenv(TENSOR_PARALLEL, "3")
    assert RewardScorer.from_checkpoint(tiny_reward_checkpoint, device="cpu").model.device.type == "cpu"


def test_heads_that_cannot_be_divided(tiny_checkpoint):
    with pytest.raises(InputError, match=f"num_key_value_heads of 2 cannot be divided by {TENSOR_PARALLEL}=4"):
        plan_of(load_causal_lm(tiny_checkpoint), 4)


def test_an_architecture_without_a_plan(tmp_path):
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=16))
    with pytest.raises(InputError, match="no plan to divide a GPT2LMHeadModel"):
        plan_of(model, 2)


def test_an_adapter_is_to_be_merged_first(tiny_checkpoint):
    model = get_peft_model(load_causal_lm(tiny_checkpoint), LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(InputError, match="merge it"):
        plan_of(model, 2)


def test_another_engine_takes_no_divided_model(tiny_checkpoint):
    model, tokenizer = load_chat_model(tiny_checkpoint)
    model.tensor_parallel_mesh = SimpleNamespace(size=lambda: 1)
    with pytest.raises(InputError, match="engine: continuous_batching takes no model that is divided"):
        sample(model, tokenizer, [[Message("user", "hi")]], engine="continuous_batching")


def test_new_tokens_of_a_shape_without_weights(tiny_checkpoint):
    tokenizer = load_tokenizer(tiny_checkpoint)
    tokenizer.add_tokens(["<one>", "<two>"])
    with pytest.warns(UserWarning, match="embeddings grown"):
        model = load_causal_lm(tiny_checkpoint, tokenizer, device_map="meta")
    assert len(model.get_input_embeddings().weight) == len(tokenizer)
