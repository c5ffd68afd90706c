"""The doctor finds each planted fault, says so under the right check, and finds nothing in a healthy recipe."""

import json
import shutil
from collections import namedtuple

import pytest
import torch
from huggingface_hub import errors
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaForSequenceClassification
from typer.testing import CliRunner

from chat_model.template import LLAMA2_TEMPLATE
from recipes.cli import main
from recipes.doctor import models as hub
from recipes.doctor import room
from recipes.planner.devices import GIB, Device
from tests.recipes.doctor.patient import Patient, assistant, conversations, pairs, prompts, user

CHATML = "{% for message in messages %}{{ '[INST]' + message['role'] + '\n' + message['content'] + END }}{% endfor %}"
CHATML += "{% if add_generation_prompt %}{{ '[INST]assistant\n' }}{% endif %}"


@pytest.fixture
def patient(tmp_path, tiny_checkpoint, tiny_reward_checkpoint, monkeypatch) -> Patient:
    hub.why_unreadable.cache_clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Patient.healthy(tmp_path / "patient", tiny_checkpoint, tiny_reward_checkpoint)


def test_nothing_is_found_in_a_healthy_recipe(patient):
    found = patient.examine()
    assert {name: each.findings for name, each in found.items() if each.findings} == {}
    assert {name: each.waiting for name, each in found.items() if each.waiting} == {}
    passed = {check for each in found.values() for check in each.passed}
    assert {"stop token trained", "mask leak", "reload parity", "ratio is 1", "sampler against trainer"} <= passed
    assert {"safety model calibrated", "disk space", "memory plan", "columns", "models can be read"} <= passed


def test_the_rows_shown_have_the_trained_tokens_in_green(patient):
    patient.write_recipe("sft")
    ((_, text),) = patient.examine()["sft"].shown
    green = [text.plain[span.start : span.end] for span in text.spans if "green" in str(span.style)]
    assert "".join(green).replace("</s>", "|").split("|")[:2] == [" the fox is red.", " the owl lives in forest 0."]


def plant_unknown_key(patient, _):
    patient.edit("sft", learning_rates=1e-5)


def plant_bad_value(patient, _):
    patient.edit("sft", learning_rate="fast")


def plant_no_stop_token(patient, _):
    patient.template(LLAMA2_TEMPLATE.replace("+ ' ' + eos_token", ""))


def plant_another_end(patient, _):
    patient.template(CHATML.replace("END", "'<<SYS>>'"))


def plant_leak(patient, _):
    leaking = CHATML.replace("END", "'</s>' + ('[INST]user' if message['role'] == 'assistant' else '')")
    patient.template(leaking)


def plant_forgotten_turns(patient, _):
    body = "{{ message['content'] if loop.last or message['role'] == 'user' else 'ok' }}{{ eos_token }}"
    patient.template("{% for message in messages %}" + body + "{% endfor %}")


def plant_two_bos(patient, _):
    patient.template(
        LLAMA2_TEMPLATE.replace("bos_token + '[INST] '", "(bos_token if loop.first else '') + bos_token + '[INST] '")
    )


def plant_untrained_rows(patient, _):
    silent = {"messages": [user("what?"), assistant("the fox is red.", train=False)]}
    patient.rows("chats", [*conversations(), silent])


def plant_prompts_that_fill(patient, _):
    patient.edit("sft", max_length=12)
    long = {"messages": [user("fox " * 40), assistant("red.")]}
    short = {"messages": [user("fox?"), assistant("red.")]}
    patient.rows("chats", [short] * 9 + [long])


def plant_long_answers(patient, _):
    patient.edit("sft", max_length=60)
    patient.rows("chats", [{"messages": [user("fox?"), assistant("red " * 60)]}, *conversations(4)])


def plant_bad_conversation(patient, _):
    patient.rows("chats", [*conversations(), {"messages": [user("hello"), user("again")]}])


def plant_foreign_preferences(patient, _):
    patient.rows("pairs", [{"question": "what?", "better": "a", "worse": "b"}])


def plant_unrated_pairs(patient, _):
    patient.rows("pairs", [{**row, "rating": None} for row in pairs()])


def plant_no_safety_labels(patient, _):
    patient.rows("pairs", [{**row, "chosen_safe": None, "rejected_safe": None} for row in pairs()])


def plant_another_domain(patient, _):
    patient.rows("pairs", [{**row, "domain": "helpfulness"} for row in pairs()])


def plant_long_pairs(patient, _):
    patient.edit("reward", max_length=8)


def plant_lost_head(patient, monkeypatch):
    save = LlamaForSequenceClassification.save_pretrained

    def without_head(model, folder, **options):
        weights = {name: weight for name, weight in model.state_dict().items() if "score" not in name}
        save(model, folder, state_dict=weights, **options)

    monkeypatch.setattr(LlamaForSequenceClassification, "save_pretrained", without_head)


def plant_language_model_as_reward(patient, _):
    shutil.rmtree(patient.scalar)
    shutil.copytree(patient.base, patient.scalar)


def plant_pad_is_end_in_reward(patient, _):
    config = json.loads((patient.scalar / "config.json").read_text())
    patient.change(patient.scalar / "config.json", pad_token_id=config["eos_token_id"])


def plant_uncalibrated(patient, _):
    (patient.scalar / "calibration.json").unlink()


def plant_pad_without_embedding(patient, _):
    tokenizer = AutoTokenizer.from_pretrained(patient.base)
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    tokenizer.save_pretrained(patient.base)


def plant_no_safety_prompts(patient, _):
    patient.rows("prompts", [{**row, "is_safety": False} for row in prompts()])


def plant_shared_prompts(patient, _):
    patient.rows("held_out", prompts(3))


def plant_uneven_batch(patient, _):
    patient.edit("ppo", mini_batch_size=3)


def plant_missing_judge(patient, _):
    patient.edit("evaluation", judge="tests.recipes.doctor.patient.judgement")


def plant_same_variants(patient, _):
    patient.edit("preferences", annotator="no.such.rule")


def plant_no_room(patient, _):
    patient.edit("best_of", max_new_tokens=4096)


def plant_too_few_prompts(patient, _):
    patient.edit("best_of", num_prompts=500)


def plant_missing_file(patient, _):
    (patient.folder / "prompts.jsonl").unlink()


def plant_missing_source(patient, _):
    (patient.folder / "trl.jsonl").unlink()


def plant_dropout(patient, monkeypatch):
    patient.change(patient.base / "config.json", attention_dropout=0.5)
    monkeypatch.setattr("rlhf.ppo.models.full.turn_dropout_off", lambda module: None)


def plant_positions_by_length(patient, _):
    """Rotary positions that change with the length of the text: a cache remembers the short text's."""
    factors = {"short_factor": [1.0] * 4, "long_factor": [32.0] * 4, "original_max_position_embeddings": 20}
    rope = {"rope_type": "longrope", "rope_theta": 10.0, "factor": 32.0, **factors}
    patient.change(patient.base / "config.json", rope_parameters=rope)
    _sharpen(patient)


def plant_scaled_logits(patient, _):
    config = AutoConfig.from_pretrained(patient.base).to_dict()
    kept = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    kept += ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")
    granite = AutoConfig.for_model("granite", logits_scaling=8.0, **{name: config[name] for name in kept})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(granite).save_pretrained(patient.base)
    _sharpen(patient)


def _sharpen(patient):
    """Enlarge output layer and attention, so that a random model prefers some tokens by far, and looks at a few."""
    model = AutoModelForCausalLM.from_pretrained(patient.base)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(20 if "lm_head" in name or "self_attn" in name else 1)
    model.save_pretrained(patient.base)


def plant_full_disk(patient, monkeypatch):
    usage = namedtuple("usage", "total used free")(10, 10, 1000)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: usage)


def plant_long_batches(patient, _):
    patient.edit("sft", max_length=2_000_000, per_device_train_batch_size=64)


def plant_missing_model(patient, _):
    shutil.rmtree(patient.base)


def plant_gated_model(patient, monkeypatch):
    patient.edit("sft", model_name_or_path="meta-llama/Llama-2-7b-hf")
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", _raise_gated)


def _raise_gated(*_, **__):
    raise errors.GatedRepoError.__new__(errors.GatedRepoError)


def plant_unreachable_model(patient, _):
    patient.edit("sft", model_name_or_path="someone/some-model-that-is-not-cached")


def plant_unknown_module(patient, _):
    patient.write_recipe("sft", sft="sftt")


def plant_missing_engine(patient, monkeypatch):
    patient.edit("preferences", engine="vllm_colocated")
    monkeypatch.setattr("chat_model.engine_checks.find_spec", lambda name: None)


def plant_engine_for_whole_models(patient, _):
    patient.launch(tensor_parallel=2)
    patient.edit("best_of", engine="continuous_batching")


def plant_server_that_does_not_answer(patient, monkeypatch):
    patient.edit("best_of", engine="vllm")
    monkeypatch.setattr("chat_model.engine_checks.find_spec", lambda name: object())
    monkeypatch.setenv("ROUNDS_VLLM_URL", "http://127.0.0.1:9")


def plant_one_base_in_parts(patient, _):
    patient.launch(distributed_type="FSDP", fsdp_config={"fsdp_version": 2})
    patient.edit("ppo", layout="shared_base")


def plant_offloading(patient, _):
    patient.launch(distributed_type="DEEPSPEED", deepspeed_config={"offload_param_device": "cpu"})


FAULTS = {
    "unknown key": ("sft", plant_unknown_key, "configuration", "learning_rates"),
    "value of another type": ("sft", plant_bad_value, "configuration", "fast"),
    "template without an end": ("sft", plant_no_stop_token, "stop token trained", "sampling stops at"),
    "template with an end that stops nothing": ("sft", plant_another_end, "stop token trained", "<<SYS>>"),
    "template that leaks": ("sft", plant_leak, "mask leak", "user"),
    "template that forgets answers": ("sft", plant_forgotten_turns, "prefix-stable template", "rendered differently"),
    "two BOS": ("sft", plant_two_bos, "one BOS", "twice"),
    "row without loss": ("sft", plant_untrained_rows, "fully masked rows", "1 of 13"),
    "prompts that fill max_length": ("sft", plant_prompts_that_fill, "fully masked rows", "1 of 10"),
    "answers over max_length": ("sft", plant_long_answers, "over-long rows", "over 60 tokens"),
    "conversation without an answer": ("sft", plant_bad_conversation, "columns", "chats.jsonl:13"),
    "columns of another schema": ("reward", plant_foreign_preferences, "columns", "question, better, worse"),
    "margin without ratings": ("reward", plant_unrated_pairs, "ratings", "12 of 12 pairs have no rating"),
    "safety loss without labels": ("reward", plant_no_safety_labels, "safety labels", "none of 12"),
    "pairs of the other domain": ("reward", plant_another_domain, "domain", "the pairs are of helpfulness"),
    "pairs over max_length": ("reward", plant_long_pairs, "over-long pairs", "over 8 tokens"),
    "head that is not saved": ("reward", plant_lost_head, "reload parity", "score.weight"),
    "language model as reward model": ("best_of", plant_language_model_as_reward, "reward model scores", "lack score"),
    "pad is the end token": ("best_of", plant_pad_is_end_in_reward, "reward model scores", "pad token"),
    "uncalibrated safety model": ("ppo", plant_uncalibrated, "safety model calibrated", "neither calibrated"),
    "pad token without embedding": ("ppo", plant_pad_without_embedding, "pad token in the embeddings", "embeddings"),
    "no safety prompts": ("ppo", plant_no_safety_prompts, "safety prompts", "tagged is_safety"),
    "held-out prompts trained on": ("ppo", plant_shared_prompts, "held-out prompts", "shares 3 prompts"),
    "uneven mini-batches": ("ppo", plant_uneven_batch, "settings", "multiple of mini_batch_size"),
    "judge that is not there": ("evaluation", plant_missing_judge, "settings", "judgement"),
    "annotator that is not there": ("preferences", plant_same_variants, "settings", "no.such.rule"),
    "no room for an answer": ("best_of", plant_no_room, "room for an answer", "max_new_tokens=4096"),
    "more prompts than there are": ("best_of", plant_too_few_prompts, "enough prompts", "8 different prompts"),
    "file that is not there": ("evaluation", plant_missing_file, "columns", "no such file"),
    "source that is not there": ("import", plant_missing_source, "columns", "trl.jsonl"),
    "dropout": ("ppo", plant_dropout, "ratio is 1", "dropout is on"),
    "positions by length": ("ppo", plant_positions_by_length, "sampler against trainer", "nats a token"),
    "logits that are scaled": ("ppo", plant_scaled_logits, "log-probabilities", "differ by"),
    "full disk": ("sft", plant_full_disk, "disk space", "are free"),
    "batch beyond the memory": ("sft", plant_long_batches, "memory plan", "layer at work"),
    "model folder that is not there": ("sft", plant_missing_model, "models can be read", "no such folder"),
    "gated model": ("sft", plant_gated_model, "models can be read", "is gated"),
    "model that cannot be reached": ("sft", plant_unreachable_model, "models can be read", "cannot be reached"),
    "engine that is not installed": ("preferences", plant_missing_engine, "engine", "vllm_colocated needs"),
    "engine for whole models": ("best_of", plant_engine_for_whole_models, "engine", "takes no model that is divided"),
    "server that does not answer": ("best_of", plant_server_that_does_not_answer, "engine", "at http://127.0.0.1:9"),
    "one base in parts": ("ppo", plant_one_base_in_parts, "launch config", "found shared_base under FSDP2"),
    "offloading": ("ppo", plant_offloading, "launch config", "offload_param_device: found cpu"),
    "unknown stage": ("sft", plant_unknown_module, "module", "'sftt' is no stage"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name, patient, monkeypatch):
    stage, plant, check, words = FAULTS[name]
    patient.write_recipe(stage)
    plant(patient, monkeypatch)
    findings = [finding for each in patient.examine().values() for finding in each.findings]
    found = [finding for finding in findings if finding.check == check]
    assert found, f"found only {findings}"
    assert words in found[0].what
    assert all(finding.why and finding.fix for finding in findings)


def test_what_waits_for_a_step_is_named_and_no_finding(patient):
    patient.write_recipe("sft", "ppo")
    root = patient.folder / "out"
    patient.edit("ppo", model_name_or_path=str(root / "sft"), safety_reward_model=str(root / "sft"))
    found = patient.examine()
    assert found["sft"].findings == []
    assert "step 'sft'" in found["ppo"].waiting.values()
    assert {"ratio is 1", "stop token trained"} <= set(found["ppo"].passed)  # on a stand-in of the base's architecture
    assert [finding.check for finding in found["ppo"].findings] == ["safety model calibrated"]


def test_a_comparison_that_the_reward_models_decide_needs_no_judge(patient):
    patient.write_recipe("evaluation")
    scalar = str(patient.scalar)
    patient.edit("evaluation", judge=None, helpfulness_reward_model=scalar, safety_reward_model=scalar)
    assert patient.examine()["evaluation"].findings == []


def test_rows_that_an_import_will_write_are_checked_before_it_runs(patient):
    patient.write_recipe("import", "reward")
    patient.edit("reward", preferences=[str(patient.folder / "out" / "import" / "train.jsonl")], margin="small")
    found = patient.examine()["reward"]
    assert {finding.check for finding in found.findings} == {"ratings", "safety labels", "domain"}
    assert "columns" in found.passed and not found.waiting


def test_the_command_says_what_why_and_how_and_exits_with_one(patient):
    patient.write_recipe("sft")
    runner = CliRunner()
    arguments = ["doctor", str(patient.folder), "-o", str(patient.folder / "out"), "--device", "H100"]
    fine = runner.invoke(main, arguments)
    assert fine.exit_code == 0 and "nothing found" in fine.output and "the fox is red." in fine.output
    ill = runner.invoke(main, [*arguments, "--set", "sft.max_length=4"])
    assert ill.exit_code == 1
    assert "fully masked rows" in ill.output and "raise max_length" in ill.output
    refused = runner.invoke(main, [*arguments[:-1], "H9000"])
    assert refused.exit_code == 2


def test_a_device_that_is_too_small_is_named(patient):
    patient.write_recipe("ppo")
    (finding,) = patient.examine(Device("a small card", GIB + 1000))["ppo"].findings
    assert finding.check == "memory plan" and "a small card has room for 0.0" in finding.what
