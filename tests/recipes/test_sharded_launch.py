"""The launch configurations that shard models, read by Accelerate's own launcher as far as a CPU goes."""

from dataclasses import replace
from pathlib import Path

import pytest
from accelerate import Accelerator
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from transformers.integrations.deepspeed import (
    is_deepspeed_zero3_enabled,
    set_hf_deepspeed_config,
    unset_hf_deepspeed_config,
)

from chat_model.config import read_yaml_mapping
from chat_model.errors import InputError
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.models.full import load_policy_and_critic
from rlhf.ppo.sharding import Sharding, check_sharding, set_up_sharding

FOLDER = Path(__file__).parents[2] / "recipes" / "accelerate"


def launched(name: str):
    """The arguments that `accelerate launch --config_file NAME script.py` would start from."""
    arguments = launch_command_parser().parse_args(["--config_file", str(FOLDER / name), "script.py"])
    return _validate_launch_command(arguments)[0]


def fsdp_plugin(monkeypatch, **changes: str) -> FullyShardedDataParallelPlugin:
    for name, value in {**prepare_multi_gpu_env(launched("fsdp2.yaml")), **changes}.items():
        monkeypatch.setenv(name, value)
    return FullyShardedDataParallelPlugin()


@pytest.fixture
def accelerator():
    """An accelerator whose state can be told that it shards, and is itself again afterwards."""
    accelerator = Accelerator(cpu=True)
    before = dict(accelerator.state.__dict__)
    yield accelerator
    accelerator.state.__dict__.clear()
    accelerator.state.__dict__.update(before)
    unset_hf_deepspeed_config()


def told(accelerator, kind: DistributedType, plugin):
    where = "deepspeed_plugins" if kind == DistributedType.DEEPSPEED else "fsdp_plugin"
    accelerator.state.__dict__.update({"distributed_type": kind, where: plugin})
    return accelerator


def zero_plugin(monkeypatch, name: str, precision: str = "bf16", **changes: str) -> DeepSpeedPlugin:
    """The plugin that a process makes of what the launcher tells it."""
    arguments = launched(name)
    arguments.deepspeed_fields_from_accelerate_config = ""  # the launcher adds it last
    for key, value in {**prepare_deepspeed_cmd_env(arguments)[1], **changes}.items():
        monkeypatch.setenv(key, value)
    plugin = DeepSpeedPlugin()
    plugin.set_mixed_precision(precision)
    set_hf_deepspeed_config(plugin.hf_ds_config)  # both as `plugin.select` does, which needs the package deepspeed
    plugin._set_selected(True)
    return plugin


@pytest.mark.parametrize("name", ["fsdp2.yaml", "zero2.yaml", "zero3.yaml"])
def test_every_key_is_one_of_accelerates(name):
    config = load_config_from_file(str(FOLDER / name))
    assert (config.num_machines, config.num_processes, config.mixed_precision) == (1, 8, "bf16")


def test_fsdp2_shards_layer_by_layer(monkeypatch, tiny_checkpoint, tiny_reward_checkpoint):
    plugin = fsdp_plugin(monkeypatch)
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward
    module = load_policy_and_critic(str(tiny_checkpoint), str(tiny_reward_checkpoint), None, False)
    plugin.set_auto_wrap_policy(module)
    (layer,) = {type(layer) for model in (module.policy, module.critic) for layer in model.model.layers}
    assert plugin.auto_wrap_policy.keywords["transformer_layer_cls"] == {layer}


def test_zero3_leaves_whole_checkpoints(monkeypatch):
    plugin = zero_plugin(monkeypatch, "zero3.yaml")
    assert plugin.zero_stage == 3 and plugin.zero3_init_flag and plugin.zero3_save_16bit_model


def test_ppo_takes_fsdp2_as_shipped(monkeypatch, accelerator):
    set_up_sharding(told(accelerator, DistributedType.FSDP, fsdp_plugin(monkeypatch)), PPOConfig())


@pytest.mark.parametrize(
    ("changes", "config", "message"),
    [
        ({"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, PPOConfig(), "fsdp_cpu_ram_efficient_loading: found true"),
        ({}, PPOConfig(layout="shared_base"), "layout: found shared_base under FSDP2"),
    ],
)
def test_what_would_go_wrong_in_silence_under_fsdp2_is_refused(monkeypatch, accelerator, changes, config, message):
    with pytest.raises(InputError, match=message):
        set_up_sharding(told(accelerator, DistributedType.FSDP, fsdp_plugin(monkeypatch, **changes)), config)


def test_ppo_refuses_fsdp1(accelerator):
    first = FullyShardedDataParallelPlugin(fsdp_version=1)
    with pytest.raises(InputError, match="fsdp_version: found 1; expected 2"):
        set_up_sharding(told(accelerator, DistributedType.FSDP, first), PPOConfig())


@pytest.mark.parametrize(("name", "stage"), [("zero2.yaml", 2), ("zero3.yaml", 3)])
def test_ppo_takes_zero_as_shipped_and_clips_by_itself(monkeypatch, accelerator, name, stage):
    plugin = zero_plugin(monkeypatch, name)
    assert is_deepspeed_zero3_enabled() == (stage == 3)
    set_up_sharding(told(accelerator, DistributedType.DEEPSPEED, plugin), PPOConfig(frozen_dtype="bfloat16"))
    settings = plugin.deepspeed_config
    assert settings["zero_optimization"]["stage"] == stage and settings["bf16"]["enabled"]
    assert settings["gradient_clipping"] == 0, "DeepSpeed would clip policy and critic together"
    assert settings["data_types"]["grad_accum_dtype"] == "fp32"
    assert not is_deepspeed_zero3_enabled(), "transformers would shard the reference and the reward models, too"


@pytest.mark.parametrize(
    ("precision", "changes", "config", "message"),
    [
        ("bf16", {}, PPOConfig(layout="shared_base"), "layout: found shared_base under DeepSpeed"),
        ("bf16", {}, PPOConfig(), "frozen_dtype: found float32 under DeepSpeed in bf16.*expected bfloat16"),
        ("fp16", {}, PPOConfig(frozen_dtype="bfloat16"), "mixed_precision: found fp16"),
        ("no", {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "1"}, PPOConfig(), "zero_stage: found 1"),
        (
            "no",
            {"ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu"},
            PPOConfig(),
            "offload_optimizer_device: found cpu",
        ),
    ],
)
def test_what_ppo_cannot_honour_under_deepspeed_is_refused(
    monkeypatch, accelerator, precision, changes, config, message
):
    plugin = zero_plugin(monkeypatch, "zero3.yaml", precision, **changes)
    with pytest.raises(InputError, match=message):
        set_up_sharding(told(accelerator, DistributedType.DEEPSPEED, plugin), config)


@pytest.mark.parametrize("name", ["cpu.yaml", "multi_gpu.yaml", "fsdp2.yaml", "zero2.yaml", "zero3.yaml"])
def test_a_launch_config_is_read_as_its_processes_will_be(monkeypatch, accelerator, name):
    """The doctor reads the file and the run asks its processes; both must come to the same."""
    read = Sharding.of_launch_config(read_yaml_mapping(FOLDER / name))
    check_sharding(read, PPOConfig(frozen_dtype="bfloat16"))
    if read.kind == "FSDP":
        told(accelerator, DistributedType.FSDP, fsdp_plugin(monkeypatch))
    elif read.kind == "DEEPSPEED":
        told(accelerator, DistributedType.DEEPSPEED, zero_plugin(monkeypatch, name))
    else:
        return
    assert replace(Sharding.of_processes(accelerator), mixed_precision="bf16") == read


def test_what_a_launch_config_leaves_out_is_what_accelerate_takes():
    """With another default of ours the doctor passes what the run then refuses."""
    arguments = launch_command_parser().parse_args(["script.py"])
    found = Sharding.of_launch_config({})
    assert found.fsdp_version == int(arguments.fsdp_version)
    assert found.cpu_ram_efficient_loading == (arguments.fsdp_cpu_ram_efficient_loading == "true")
    assert found.zero_stage == int(arguments.zero_stage or DeepSpeedPlugin().zero_stage)
    assert {found.offload_optimizer_device, found.offload_param_device} == {"none"}
