"""The shared base does what separate models would, and the whole stage on it trains, saves and resumes."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from peft import PeftModel
from safetensors.torch import load_file

from chat_model.conversation import Message, Prompt
from chat_model.errors import InputError
from chat_model.generation import sample
from chat_model.loading import load_causal_lm, load_scalar_model, load_tokenizer
from chat_model.log_probs import response_log_probs
from chat_model.rows import write_rows
from chat_model.stage import StageRun
from reward_model.scoring import RewardScorer
from rlhf.ppo.config import PPOConfig, check_config
from rlhf.ppo.models.dropout import turn_dropout_off
from rlhf.ppo.models.full import PolicyAndCritic
from rlhf.ppo.models.interface import parameter_groups
from rlhf.ppo.models.loading import load_models
from rlhf.ppo.rollout import Measurements, RewardSettings, estimate
from rlhf.ppo.train import train
from rlhf.ppo.update import UpdateSettings, accumulate_gradients, update

CPU = torch.device("cpu")
UPDATE = UpdateSettings(8, 1, 60, 0.7, 0.2, 0.2, 1.0)
CONVERSATIONS = [
    (Message("user", text), Message("assistant", answer))
    for text, answer in (("what color is the fox?", "red."), ("hi", "the owl lives in the forest."), ("speak", "no"))
]


@pytest.fixture
def config(tiny_checkpoint, tiny_adapters, tmp_path):
    return PPOConfig(
        layout="shared_base",
        model_name_or_path=str(tiny_checkpoint),
        policy_adapter=str(tiny_adapters["policy"]),
        helpfulness_reward_model=str(tiny_adapters["helpfulness"]),
        safety_reward_model=str(tiny_adapters["safety"]),
        allow_uncalibrated_safety=True,
        prompts=str(tmp_path / "prompts.jsonl"),
        seed=3,
    )


def load(config):
    return load_models(config, load_tokenizer(config.model_name_or_path), CPU)


def adapted(model, folder):
    """One adapter on a model of its own, trained, in evaluation mode and without dropout."""
    wrapped = PeftModel.from_pretrained(model, folder / "adapter", is_trainable=True).eval()
    turn_dropout_off(wrapped)
    return wrapped


@pytest.fixture
def apart(tiny_checkpoint, tiny_adapters):
    """Policy and critic as two whole models, each with its LoRA adapter."""
    policy = adapted(load_causal_lm(tiny_checkpoint), tiny_adapters["policy"])
    critic = adapted(load_scalar_model(tiny_checkpoint), tiny_adapters["helpfulness"])
    return PolicyAndCritic(policy.get_base_model(), critic.get_base_model())


def inputs_of(responses):
    return responses.token_ids, responses.attention_mask, responses.response_mask, 0.7


def rollout_of(models, responses):
    """A rollout that `models` sampled, with random scores."""
    with torch.no_grad():
        outputs = models.trained(*inputs_of(responses), with_entropy=True)
        reference = models.reference(*inputs_of(responses))
    scores = 2 * torch.randn(2, 8, generator=torch.Generator().manual_seed(5))
    settings = RewardSettings(0.1, 0.15, 0.5, 1.0, 0.95, whiten_advantages=True)
    return estimate(responses, Measurements(*outputs, reference), *scores, settings, lambda tensor: tensor)


def trained_gradients(module):
    """Gradients by the paths that PEFT gives on a model of its own."""
    return {
        part: [parameter.grad for parameter in module.parameters_of(part) if parameter.grad is not None]
        for part in ("policy", "critic")
    }


def test_outputs_equal_those_of_models_held_apart(config, apart, responses):
    with torch.no_grad():
        shared = load(config).trained(*inputs_of(responses), with_entropy=True)
        separate = apart(*inputs_of(responses), with_entropy=True)
    for mine, theirs in zip(shared, separate, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    assert shared.log_probs.abs().max() > 1 and shared.values.abs().max() > 1e-2


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_an_update_equal_those_of_models_held_apart(config, apart, responses, checkpointing):
    models = load(replace(config, gradient_checkpointing=checkpointing))
    rollout = rollout_of(models, responses)
    rollout = replace(rollout, advantages=rollout.advantages + 0.5)  # or first-step gradients nearly cancel
    found = []
    for module in (models.trained, apart):
        accumulate_gradients(Accelerator(cpu=True), module.train(), rollout, list(range(8)), UPDATE)
        found.append(trained_gradients(module))
    for part in ("policy", "critic"):
        assert len(found[0][part]) == len(found[1][part]) > 0
        assert max(gradient.abs().max() for gradient in found[0][part]) > 1e-3
        for mine, theirs in zip(*(gradients[part] for gradients in found), strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)


def test_both_parts_in_one_backward_pass_are_refused(config, responses):
    outputs = load(config).trained(*inputs_of(responses))
    with pytest.raises(RuntimeError, match="adapter 'policy' began while 'critic' was active"):
        (outputs.log_probs.sum() + outputs.values.sum()).backward()


def test_scores_equal_those_of_the_reward_models_alone(config, tiny_checkpoint, tiny_adapters, tiny_tokenizer):
    models = load(config)
    models.trained.causal_lm("policy")  # whichever adapter was last active
    for name in ("helpfulness", "safety"):
        model = load_scalar_model(tiny_checkpoint, tiny_tokenizer)
        alone = RewardScorer(PeftModel.from_pretrained(model, tiny_adapters[name] / "adapter").eval(), tiny_tokenizer)
        expected = alone.score(CONVERSATIONS)
        assert expected.std() > 1e-2
        torch.testing.assert_close(getattr(models.scorers, name)(CONVERSATIONS), expected, atol=1e-6, rtol=0)


def test_the_critic_starts_as_the_helpfulness_reward_model(config, responses):
    models = load(config)
    ids, mask = responses.token_ids, responses.attention_mask
    with torch.no_grad():
        assert torch.equal(*(models.trained.scores(name, ids, mask, mask) for name in ("critic", "helpfulness")))


@pytest.mark.parametrize("start", ["new", "given"])
def test_steps_move_policy_and_critic_and_nothing_else(config, responses, tiny_checkpoint, start):
    models = load(config if start == "given" else replace(config, policy_adapter=None))
    rollout = rollout_of(models, responses)
    inputs = inputs_of(responses)
    with torch.no_grad():
        assert torch.equal(models.reference(*inputs), models.trained(*inputs, part="policy").log_probs)
        if start == "new":
            bare = response_log_probs(load_causal_lm(tiny_checkpoint), *inputs)[0]
            assert torch.equal(models.reference(*inputs), bare)
        scores = models.scorers.helpfulness(CONVERSATIONS), models.scorers.safety(CONVERSATIONS)
        reference, before = models.reference(*inputs), models.trained(*inputs)
        frozen = {
            name: tensor.clone() for name, tensor in models.trained.named_parameters() if not tensor.requires_grad
        }
    optimizer = torch.optim.AdamW(parameter_groups(models.trained, 1e-2, 1e-2, 0.1))
    update(Accelerator(cpu=True), models.trained, optimizer, rollout, UPDATE, iteration=0)
    with torch.no_grad():
        after = models.trained(*inputs)
        assert torch.equal(models.reference(*inputs), reference)
        for mine, earlier in zip((models.scorers.helpfulness, models.scorers.safety), scores, strict=True):
            assert torch.equal(mine(CONVERSATIONS), earlier)
    assert (after.log_probs - before.log_probs).abs().max() > 1e-3
    assert (after.values - before.values).abs().max() > 1e-3
    parameters = dict(models.trained.named_parameters())
    assert frozen and all(torch.equal(parameters[name], tensor) for name, tensor in frozen.items())


def test_the_policy_adapter_samples(config, tiny_checkpoint, tiny_adapters, tiny_tokenizer):
    models = load(config)
    models.trained.causal_lm("critic")
    prompts, settings = [conversation[:1] for conversation in CONVERSATIONS], {"max_new_tokens": 12, "progress": False}
    alone = adapted(load_causal_lm(tiny_checkpoint), tiny_adapters["policy"]).get_base_model()
    drawn = [
        sample(model, tiny_tokenizer, prompts, seed=2, **settings).response_ids
        for model in (models.trained.sampling_policy(), alone, load_causal_lm(tiny_checkpoint))
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_groups_are_told_by_name_whichever_adapter_is_active(config):
    models = load(config)
    for active in ("policy", "critic", "safety", "reference"):
        models.trained.causal_lm(active)
        parts = [models.trained.parameters_of(part) for part in ("policy", "critic")]
        assert [len(part) for part in parts] == [2 * 14, 2 * 4 + 1]  # two matrices a layer, and the critic's head
        listed = {id(parameter) for part in parts for parameter in part}
        assert listed == {id(parameter) for parameter in models.trained.parameters() if parameter.requires_grad}


def test_dropout_of_a_saved_adapter_is_off(config, responses):
    trained = load(config).trained.train()
    assert torch.equal(*(trained(*inputs_of(responses), part="critic").values for _ in range(2)))


def test_the_state_holds_what_is_trained_and_loads(config):
    models, other = load(config), load(replace(config, policy_adapter=None, lora_r=4))
    state = {name: tensor.clone() for name, tensor in models.trained.state_dict().items()}
    trained = {name for name, parameter in models.trained.named_parameters() if parameter.requires_grad}
    assert set(state) == trained
    other.trained.load_state_dict(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in other.trained.state_dict().items())
    with pytest.raises(RuntimeError, match="heads.critic.weight"):
        models.trained.load_state_dict({name: state[name] for name in state if name != "heads.critic.weight"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference_model": "elsewhere"}, "reference_model: found elsewhere; in layout shared_base"),
        ({"layout": "full"}, "policy_adapter: found .*; expected layout: shared_base"),
        ({"layout": "full", "policy_adapter": None, "load_in_4bit": True}, "load_in_4bit: found True; expected layout"),
        ({"lora_r": 0}, "lora_r: found 0"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(config, change, message):
    with pytest.raises(InputError, match=message):
        check_config(replace(config, **change), 1)


def test_a_reward_model_of_another_base_is_refused(config, tiny_reward_checkpoint, tmp_path, tiny_adapters):
    shutil.copytree(tiny_adapters["safety"], tmp_path / "safety")
    file = tmp_path / "safety" / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "other/base"}))
    base = config.model_name_or_path
    message = f"safety_reward_model {tmp_path}/safety: .* base model other/base, and the policy's is {base}"
    with pytest.raises(InputError, match=f"{message}; .* layout: full"):
        load(replace(config, safety_reward_model=str(tmp_path / "safety")))
    with pytest.raises(InputError, match=f"{tiny_reward_checkpoint}: holds no LoRA adapter"):
        load(replace(config, safety_reward_model=str(tiny_reward_checkpoint)))
    with pytest.raises(InputError, match="holds no scalar head 'score'"):
        load(replace(config, safety_reward_model=str(tiny_adapters["policy"])))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_base_that_was_trained_anew_since_is_noticed(config, tiny_adapters, tiny_checkpoint, tmp_path, dtype):
    folder = tmp_path / "safety"
    shutil.copytree(tiny_adapters["safety"], folder)
    merged = load_scalar_model(tiny_checkpoint, dtype=dtype)
    merged.save_pretrained(folder)
    load(replace(config, safety_reward_model=str(folder)))
    merged.model.embed_tokens.weight.data[1] += 0.01
    merged.save_pretrained(folder)
    with pytest.raises(InputError, match=f"{folder}: was trained from {tiny_checkpoint}, whose weights have changed"):
        load(replace(config, safety_reward_model=str(folder)))


def test_four_bits_without_bitsandbytes_say_so(config, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="load_in_4bit: needs the package bitsandbytes"):
        load(replace(config, load_in_4bit=True))


def test_a_base_without_room_for_the_pad_token_is_refused(config, tiny_tokenizer):
    import copy

    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<another>"})
    with pytest.raises(InputError, match="have no room for the pad token"):
        load_models(config, tokenizer, CPU)


@pytest.fixture
def stage(config, tmp_path):
    """Run the whole stage in the shared layout with a few changes; return its folder."""
    words = ("fox", "owl", "bomb", "pirate", "café")
    rows = [Prompt((Message("user", f"what about the {word}"),), word == "bomb").to_row() for word in words]
    write_rows(config.prompts, rows)
    small = {"batch_size": 8, "mini_batch_size": 4, "max_new_tokens": 8, "critic_warmup_iterations": 1}
    rates = {"learning_rate": 1e-2, "critic_learning_rate": 1e-2, "kl_coefficient": 0.0}

    def run(name, **changes):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        settings = {**small, **rates, "num_iterations": 2, "save_every": 1, **changes}
        (folder / "settings.json").write_text(json.dumps(asdict(replace(config, **settings))))
        train(StageRun(folder), replace(config, **settings))
        return folder

    return run


def metrics_of(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


def test_the_stage_leaves_an_adapter_and_a_whole_model_in_fp32(stage, config, tiny_checkpoint, capsys):
    folder = stage("out", gradient_checkpointing=True, num_iterations=3)
    assert "memory plan" in capsys.readouterr().out
    rows = metrics_of(folder)
    assert [row["iteration"] for row in rows] == [1, 2, 3]
    assert rows[0]["kl_k3"] == rows[1]["kl_k3"] == 0.0 < rows[2]["kl_k3"]  # the first iteration is the critic's
    merged, base = load_causal_lm(folder), load_causal_lm(tiny_checkpoint)
    again = load(replace(config, policy_adapter=str(folder))).trained
    ids = torch.tensor([[1, 5, 9, 300, 17]])
    with torch.no_grad():
        expected = again.sampling_policy()(ids).logits
        torch.testing.assert_close(merged(ids).logits, expected, atol=1e-5, rtol=0)
        started = load(config).trained.sampling_policy()(ids).logits
    assert merged.dtype == torch.float32 and (expected - started).abs().max() > 1e-3
    unmoved = [name for name, tensor in base.state_dict().items() if torch.equal(merged.state_dict()[name], tensor)]
    assert "model.embed_tokens.weight" in unmoved and "model.layers.0.mlp.up_proj.weight" not in unmoved
    assert load_tokenizer(folder).pad_token_id == load_tokenizer(tiny_checkpoint).pad_token_id


def test_a_base_in_bf16_trains_fp32_adapters_and_leaves_fp32(stage, config, tiny_checkpoint):
    folder = stage("low", frozen_dtype="bfloat16")
    assert metrics_of(folder)[1]["policy_grad_norm"] > 0
    started = load_file(Path(config.policy_adapter) / "adapter" / "adapter_model.safetensors")
    trained, merged = (
        load_file(folder / "adapter" / "adapter_model.safetensors"),
        load_file(folder / "model.safetensors"),
    )
    assert all(tensor.dtype == torch.float32 for tensor in (*trained.values(), *merged.values()))
    moved = [(trained[name] - started[name]).abs().max() for name in started]
    assert max(moved) > 1e-4
    embeddings = load_causal_lm(tiny_checkpoint).get_input_embeddings().weight
    assert torch.equal(merged["model.embed_tokens.weight"], embeddings)  # read from disk again, not from bf16


SCRIPT = """
import os
import json, os, sys
from pathlib import Path
from accelerate import PartialState
from chat_model.stage import StageRun
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.train import train

folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
train(StageRun(folder, is_main=os.environ["RANK"] == "0"), PPOConfig(**settings))
assert PartialState().num_processes == 2
PartialState().wait_for_everyone()
PartialState().destroy_process_group()
os._exit(0)  # at the interpreter's own end gloo's threads abort now and then
"""


def test_two_processes_train_as_one(stage, config, tmp_path):
    one = stage("one", gradient_checkpointing=True)
    settings = json.loads((one / "settings.json").read_text())
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "two").mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "ACCELERATE_USE_CPU": "true"}
    arguments = [str(tmp_path / "train.py"), str(tmp_path / "two"), json.dumps(settings)]
    ran = subprocess.run([*launch, *arguments], capture_output=True, text=True, timeout=200, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    for row, other in zip(metrics_of(one), metrics_of(tmp_path / "two"), strict=True):
        assert other == {name: pytest.approx(value, rel=1e-4, abs=1e-5) for name, value in row.items()}
    adapter = "adapter/adapter_model.safetensors"
    expected, found = load_file(one / adapter), load_file(tmp_path / "two" / adapter)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=0)


def test_a_killed_run_continues_bit_for_bit(stage, config, monkeypatch):
    whole = stage("whole", num_iterations=3)
    calls = []
    score = RewardScorer.score

    def dies_in_iteration_three(scorer, conversations):
        calls.append(len(conversations))
        if len(calls) == 5:  # two scorers an iteration
            raise KeyboardInterrupt
        return score(scorer, conversations)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RewardScorer, "score", dies_in_iteration_three)
        stage("killed", num_iterations=3)
    state = next((whole.parent / "killed" / "checkpoints").glob("*/model.safetensors"))
    assert state.stat().st_size < (whole / "model.safetensors").stat().st_size / 2, "it holds the base too"
    torch.manual_seed(99)  # a new process has another random state
    killed = stage("killed", num_iterations=3)
    assert metrics_of(killed) == metrics_of(whole)
    for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
