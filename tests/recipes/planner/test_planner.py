"""The planner's parts equal what real models hold, and its seconds what its own formulas say by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from chat_model.errors import InputError
from chat_model.model_size import ModelShape, read_shape, shape_of
from recipes.planner.activations import activation_parts, saved_by_a_layer
from recipes.planner.devices import DEVICES, GIB, Device, find_device
from recipes.planner.duration import Speed, pass_seconds, sampling_seconds
from recipes.planner.estimate import Estimate, estimate
from recipes.planner.layout import Layout, layout_of
from recipes.planner.lineage import origin_of
from recipes.planner.memory import training_memory
from recipes.planner.ppo_memory import ppo_memory
from recipes.planner.rows import sizes_of
from recipes.planner.sampling_memory import sampling_memory
from recipes.recipe import Recipe
from recipes.step import Step
from tests.conftest import TINY
from tests.peak_memory import PeakMemory

SEVEN = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}

SMALL = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return Recipe(folder=tmp_path, root=tmp_path / "out", name="planned", chain="steps")


def step(name: str, module: str, root: Path, **arguments) -> Step:
    return Step(name, module, arguments, root / name, name)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
@pytest.mark.parametrize("padded", [0, 96])
def test_a_layer_saves_as_many_bytes_as_planned(kind, precision, padded):
    """Catches a term left out: what autograd keeps of four layers less that of two is two layers' activations."""
    shapes = [_saved(kind, layers, precision, padded) for layers in (2, 4)]
    (_, few), (shape, many) = shapes
    assert (many - few) / 2 / 192 == saved_by_a_layer(shape, precision, padded)


def _saved(kind: str, layers: int, precision: str, padded: int) -> tuple[ModelShape, int]:
    """Return the shape of a tiny model and the bytes that its decoder keeps of 2 x 96 tokens, weights not counted."""
    config = AutoConfig.for_model(
        kind,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=16,
        vocab_size=300,
    )
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).train()
    ids, mask = torch.ones(2, 96, dtype=torch.long), torch.ones(2, 96, dtype=torch.long)
    mask[0, 80:] = 0 if padded else 1
    weights = {tuple(weight.shape[::turn]) for weight in model.parameters() for turn in (1, -1)}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor):
        if tuple(tensor.shape) not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
        output = model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False)
    assert output.last_hidden_state.requires_grad
    return shape_of(config.to_dict()), sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("precision", "padded"), [("float32", 0), ("autocast", 256), ("bfloat16", 256)])
def test_the_worst_moment_of_a_backward_pass_is_within_fifteen_percent(precision, padded, checkpointing):
    config = AutoConfig.for_model("llama", **{**SMALL, "max_position_embeddings": 256})
    model = AutoModelForCausalLM.from_config(config, dtype="bfloat16" if precision == "bfloat16" else "float32").train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ids, mask = torch.ones(8, 256, dtype=torch.long), torch.ones(8, 256, dtype=torch.long)
    mask[0, 200:] = 0 if padded else 1
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # planned elsewhere
    with PeakMemory() as measured:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
            output = model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        output.float().square().mean().backward()
    planned = activation_parts(shape_of(config.to_dict()), ids.numel(), precision, checkpointing, padded)
    assert sum(planned.values()) == pytest.approx(measured.peak, rel=0.15)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("dtype", "autocast", "precision"), [("float32", 0, "float32"), ("bfloat16", 1, "autocast")])
def test_with_lora_a_low_precision_base_keeps_what_fp32_weights_keep(dtype, autocast, precision, checkpointing):
    config = AutoConfig.for_model("llama", **{**SMALL, "max_position_embeddings": 256})
    adapters = LoraConfig(r=4, target_modules="all-linear")
    model = get_peft_model(AutoModelForCausalLM.from_config(config, dtype=dtype), adapters).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    ids = torch.ones(8, 256, dtype=torch.long)
    with PeakMemory() as measured:
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(autocast)):
            output = model.get_base_model().get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        output.float().square().mean().backward()
    shape = shape_of(config.to_dict())
    planned = activation_parts(shape, ids.numel(), precision, checkpointing)
    assert sum(planned.values()) == pytest.approx(measured.peak - 4 * shape.lora(4, ["all-linear"]), rel=0.15)


def test_the_dropout_of_lora_keeps_a_mask_and_a_copy_of_its_inputs():
    arguments = {"use_peft": True, "max_length": 8, "per_device_train_batch_size": 1, "gradient_checkpointing": False}
    shape = shape_of(SEVEN)
    dropped, kept = (
        training_memory({**arguments, "lora_dropout": rate}, shape, Layout(), is_scalar=False) for rate in (0.05, 0.0)
    )
    assert dropped["activations"] - kept["activations"] == 8 * 32 * (2 * 4096) * (1 + 2)  # q_proj and v_proj, autocast


def test_checkpointing_keeps_one_layer_whole_and_the_inputs_of_the_others():
    shape = shape_of(SEVEN)
    whole, kept = (activation_parts(shape, 4096, "bfloat16", checkpointing) for checkpointing in (False, True))
    layer = 4096 * saved_by_a_layer(shape, "bfloat16")
    assert (whole["activations"], kept["activations"]) == (32 * layer, 4096 * 32 * 4096 * 2)
    assert kept["layer at work"] - whole["layer at work"] == layer


def test_full_training_in_fp32_is_sixteen_bytes_a_parameter():
    shape = shape_of(SEVEN)
    parts = training_memory({"bf16": False, "max_length": 512}, shape, Layout(), is_scalar=False)
    states = parts["weights"] + parts["gradients"] + parts["optimizer"]
    assert states == 16 * shape.causal_lm
    assert "bf16 copies" not in parts and "gradient buckets" not in parts


def test_fsdp_divides_weights_gradients_and_moments_and_ddp_none():
    shape, arguments = shape_of(SEVEN), {"bf16": True, "max_length": 512}
    sharded = training_memory(arguments, shape, Layout(8, True, True, True), is_scalar=False)
    assert sharded["weights"] + sharded["gradients"] + sharded["optimizer"] == 16 * shape.causal_lm // 8
    copied = training_memory(arguments, shape, Layout(8), is_scalar=False)
    assert copied["gradient buckets"] == copied["gradients"] == 4 * shape.causal_lm


def test_deepspeed_trains_in_16_bits_beside_masters_in_fp32():
    """2 bytes of weight and 2 of gradient (PPO adds up in fp32: 4), and 12 of moments and masters, a parameter."""
    shape, zero2 = shape_of(SEVEN), Layout(8, False, True, True, "bf16", casts=True)
    parts = training_memory({"max_length": 512}, shape, zero2, is_scalar=False)
    found = [parts[name] / shape.causal_lm for name in ("weights", "gradients", "optimizer")]
    assert found == [2, pytest.approx(2 / 8), pytest.approx(12 / 8)] and "bf16 copies" not in parts
    parts, trained = ppo_memory({"layout": "full"}, shape, zero2), shape.causal_lm + shape.classifier
    found = [parts[name] / trained for name in ("trained weights", "gradients", "optimizer")]
    assert found == [2, pytest.approx(4 / 8), pytest.approx(12 / 8)]


def test_lora_holds_the_base_once_and_trains_the_adapter_alone():
    shape = shape_of(SEVEN)
    arguments = {"use_peft": True, "dtype": "bfloat16", "lora_r": 8, "lora_target_modules": ["all-linear"]}
    parts = training_memory(arguments, shape, Layout(), is_scalar=True)
    trained = shape.lora(8, ["all-linear"], ["score"])
    assert parts["weights"] == 2 * shape.classifier
    assert (parts["adapter"], parts["gradients"], parts["optimizer"]) == (4 * trained, 4 * trained, 8 * trained)
    smaller = training_memory({**arguments, "load_in_4bit": True}, shape, Layout(), is_scalar=True)
    assert parts["weights"] - smaller["weights"] == int(shape.linear_weights * (2 - 0.5625))


@pytest.mark.parametrize("layout", ["full", "shared_base"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ppo_is_planned_as_by_the_stage_itself(layout, dtype, tiny_checkpoint, tiny_reward_checkpoint):
    """Catches two plans of one run that disagree: `rlhf.ppo` counts real modules, the planner multiplies widths."""
    from rlhf.ppo.config import PPOConfig
    from rlhf.ppo.memory_plan import plan_memory

    arguments = {"frozen_dtype": dtype, "sample_batch_tokens": 64, "micro_batch_tokens": 128}
    scalar = str(tiny_reward_checkpoint)
    models = {"helpfulness_reward_model": scalar, "safety_reward_model": scalar}
    config = PPOConfig(model_name_or_path=str(tiny_checkpoint), **models, **arguments)
    theirs = {plan.layout: plan for plan in plan_memory(config)}[layout]
    ours = ppo_memory({**arguments, "layout": layout}, read_shape(tiny_checkpoint), Layout())
    assert ours.get("trained weights", 0) == theirs.trained_weights
    assert ours.get("adapters", 0) == theirs.adapters
    assert (ours["frozen weights"], ours["gradients"]) == (theirs.frozen_weights, theirs.gradients)
    assert (ours["optimizer"], ours["KV cache"]) == (theirs.optimizer, theirs.kv_cache)


def test_update_and_sampling_of_ppo_take_turns():
    memory = {"weights": 10, "gradients": 5, "logits": 1, "activations": 2, "layer at work": 3, "KV cache": 7}
    assert Estimate(memory).peak == 10 + 5 + 2 + 3
    assert Estimate({**memory, "logits": 9}).peak == 10 + 5 + 2 + 9
    assert Estimate({**memory, "KV cache": 70}).peak == 10 + 70
    assert Estimate({"weights": 10, "KV cache": 7}).peak == 17
    assert Estimate({**memory, "KV cache": 7, "vLLM's weights": 10}).peak == 10 + 17  # asleep in the update


ENGINES = {"transformers": (0, 1), "continuous_batching": (0, 1), "vllm": (0, 0), "vllm_colocated": (1, 1)}


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_takes_of_the_device_what_it_holds_there(engine):
    shape, (copies, caches) = shape_of(SEVEN), ENGINES[engine]
    parts = sampling_memory({"engine": engine, "dtype": "bfloat16", "batch_tokens": 1024}, shape)
    assert parts.get("vLLM's weights", 0) == copies * 2 * shape.causal_lm
    assert parts.get("KV cache", 0) == caches * shape.key_value_cache(1024, 2)
    assert parts["weights"] == 2 * shape.causal_lm
    assert not Estimate({"weights": 24 * GIB}).fits(find_device("4090"))
    assert Estimate({"weights": 22 * GIB}).fits(find_device("4090"))


def test_a_pass_takes_two_operations_a_weight_and_token():
    shape = shape_of({**SEVEN, "num_hidden_layers": 1})
    weights = 4 * 4096**2 + 3 * 4096 * 11008
    by_hand = 3 * 10 * 100 * (2 * (weights + 32000 * 4096) + 4 * 4096 * 50) / 1e12
    assert pass_seconds(shape, 10, 100, Speed(1e12, 1), passes=3, with_output=True) == pytest.approx(by_hand)


def test_sampling_reads_weights_and_cache_once_a_token():
    shape = shape_of(SEVEN)
    seconds = sampling_seconds(shape, 8, 100, 50, 4 * 150, Speed(1e30, 1e12), 2)  # two batches of four rows
    cache = 2 * 32 * 4096 * 4 * 125 * 2
    assert seconds == pytest.approx(2 * 50 * (2 * shape.causal_lm + cache) / 1e12)


def test_steps_that_have_not_run_are_planned_by_the_model_their_chain_starts_from(recipe, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(('{"messages": "' + "x" * 380 + '"}\n') * 10)
    root = recipe.root
    sft = step("sft", "sft", root, model_name_or_path=TINY, dataset_name=[str(rows)], num_train_epochs=2)
    reward = step("rm", "reward_model", root, model_name_or_path=str(sft.output), preferences=["not/here.jsonl"])
    steps = [sft, reward]
    assert origin_of(str(sft.output), steps) == TINY
    h100 = find_device("NVIDIA H100 80GB HBM3")
    planned = [estimate(each, recipe, h100, steps=steps) for each in steps]
    assert planned[1].memory["weights"] == 4 * read_shape(TINY).classifier
    assert planned[0].seconds > 0 and "10 rows" in planned[0].why and "2 epochs" in planned[0].why
    assert planned[1].seconds is None and "1,000 rows" in planned[1].why
    slower = estimate(sft, recipe, h100, utilisation=0.2, steps=steps)
    assert slower.seconds == pytest.approx(2 * planned[0].seconds)


SAMPLED = {  # module -> its arguments, and responses to one prompt
    "rlhf.safety_evaluation": ({"checkpoints": ["m", "m", "m"], "names": ["a", "b", "c"], "num_prompts": 10}, 3),
    "gatt.context_distillation": ({"num_samples": 4, "num_prompts": 10, "safety_reward_model": "m"}, 5),
}


@pytest.mark.parametrize("module", SAMPLED)
def test_every_stage_that_samples_is_planned(module, recipe, tmp_path, tiny_checkpoint):
    arguments, responses = SAMPLED[module]
    names = {name: [str(tiny_checkpoint)] * len(arguments[name]) for name in ("checkpoints",) if name in arguments}
    one = step("sampled", module, tmp_path, model_name_or_path=str(tiny_checkpoint), **{**arguments, **names})
    plan = estimate(one, recipe, find_device("H100"))
    assert plan.why.startswith(f"{10 * responses} responses to prompts") and plan.seconds > 0
    assert ("reward models" in plan.memory) and bool(plan.memory["reward models"]) == ("distill" in module)


def test_ppo_that_trains_whole_models_is_slower_than_on_a_base_in_bf16(recipe, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**SEVEN, "architectures": ["LlamaForCausalLM"]}))
    arguments = {"model_name_or_path": str(tmp_path), "frozen_dtype": "bfloat16", "num_iterations": 1}
    seconds = []
    for layout in ("full", "shared_base"):
        ppo = step(layout, "rlhf.ppo", recipe.root, layout=layout, **arguments)
        seconds.append(estimate(ppo, recipe, find_device("H100"), steps=[ppo]).seconds)
    assert seconds[0] > 5 * seconds[1]  # 67 against 989 TFLOP/s, and twice the bytes a weight


def test_what_cannot_be_planned_says_why(recipe, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "gpt_neox"}')
    unknown = step("sft", "sft", recipe.root, model_name_or_path=str(other))
    h200 = find_device("H200")
    assert "'gpt_neox' are not known" in estimate(unknown, recipe, h200, steps=[unknown]).why
    importing = step("import", "reward_model.importers", recipe.root)
    assert estimate(importing, recipe, h200, steps=[importing]).why == "runs no model"
    sampling = step("s", "rlhf.evaluate", recipe.root, checkpoints=[TINY], num_prompts=4)
    on_cpu = estimate(sampling, recipe, Device("this CPU", GIB), steps=[sampling])
    assert on_cpu.memory and on_cpu.seconds is None and "not known" in on_cpu.why
    assert estimate(sampling, recipe, h200, steps=[sampling]).seconds > 0


@pytest.mark.parametrize(
    ("launch", "expected"),
    [
        ({"distributed_type": "MULTI_GPU", "num_processes": 4}, Layout(4)),
        ({"distributed_type": "FSDP", "num_processes": 8, "mixed_precision": "bf16"}, (True, True, True)),
        ({"distributed_type": "FSDP", "fsdp_config": {"fsdp_reshard_after_forward": False}}, (False, True, True)),
        ({"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 2}}, (False, True, True)),
        (
            {"distributed_type": "DEEPSPEED", "mixed_precision": "bf16", "deepspeed_config": {"zero_stage": 2}},
            Layout(1, False, True, True, "bf16", casts=True),
        ),
        ({"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 3}}, (True, True, True)),
    ],
)
def test_the_launch_config_says_what_is_divided(recipe, tmp_path, launch, expected):
    file = tmp_path / "launch.yaml"
    file.write_text(yaml.safe_dump(launch))
    layout = layout_of(replace(recipe, accelerate=file))
    found = (layout.weights, layout.gradients, layout.optimizer)
    assert layout == expected if isinstance(expected, Layout) else found == expected


def test_devices_are_found_by_their_usual_names():
    assert [find_device(device.name) for device in DEVICES] == list(DEVICES)
    assert find_device("NVIDIA A100-SXM4-80GB").name == "A100"
    assert find_device("4090").memory == 24 * GIB
    with pytest.raises(InputError, match="no GPU 'H20O'.*H200"):
        find_device("H20O")


def test_only_files_that_stand_here_are_counted(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "abcdefgh"}\n' * 700)  # 20 characters a row
    sizes = sizes_of([str(rows)])
    assert sizes.mean_tokens == 5 and sizes.rows == 700 * 21 // 20
    assert sizes_of([str(rows), "some/hub-set"]) is None
    assert sizes_of([]) is None


def _train(kind: dict, arguments: dict, folder: Path, tokenizer) -> ModelShape:
    """Train a random model for two steps of full rows with TRL; return its shape."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    length, count = arguments["max_length"], 2 * arguments["per_device_train_batch_size"]
    rows = Dataset.from_list([{"input_ids": [5] * length, "labels": [5] * length}] * count)
    fixed = {"max_steps": 2, "report_to": [], "save_strategy": "no", "disable_tqdm": True}
    config = SFTConfig(str(folder), dataset_kwargs={"skip_prepare_dataset": True}, **fixed, **arguments)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**kind))
    SFTTrainer(model, config, train_dataset=rows, processing_class=tokenizer).train()
    return shape_of(kind)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_real_training_step_peaks_as_planned(checkpointing, tmp_path, tiny_tokenizer):
    """Weights, gradients, moments, activations and the logits' tile, on a CPU by every operation's tensors."""
    arguments = {"per_device_train_batch_size": 2, "max_length": 256, "gradient_checkpointing": checkpointing}
    arguments |= {"bf16": False, "use_cpu": True}
    kind = {**SMALL, "model_type": "llama", "num_hidden_layers": 12, "num_key_value_heads": 4, "vocab_size": 400}
    with PeakMemory() as measured:
        shape = _train(kind, arguments, tmp_path, tiny_tokenizer)
    planned = Estimate(training_memory({**arguments, "packing": True}, shape, Layout(), is_scalar=False))
    assert planned.peak == pytest.approx(measured.peak, rel=0.15)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares with the measured peak of a GPU")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_peak_on_a_gpu_is_within_fifteen_percent(checkpointing, tmp_path, tiny_tokenizer):
    arguments = {"per_device_train_batch_size": 4, "max_length": 1024, "gradient_checkpointing": checkpointing}
    kind = {**SEVEN, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12, "num_attention_heads": 16}
    torch.cuda.reset_peak_memory_stats()
    shape = _train(kind, {**arguments, "bf16": True}, tmp_path, tiny_tokenizer)
    planned = Estimate(training_memory({**arguments, "packing": True}, shape, Layout(), is_scalar=False))
    assert planned.peak == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.15)
