"""Sampling a part of a module that is sharded over two processes: same responses, alone, and training goes on."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from chat_model.sharding import whole_weights

SCRIPT = """
import os
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from chat_model.decoding import DecodingSettings, decode
from chat_model.loading import load_causal_lm
from chat_model.log_probs import response_log_probs
from chat_model.sharding import whole_weights

class Joint(nn.Module):
    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self, token_ids):
        everywhere = torch.ones_like(token_ids, dtype=torch.bool)
        return response_log_probs(self.policy, token_ids, everywhere, everywhere)[0]

dist.init_process_group("gloo")
torch.manual_seed(0)
policy = load_causal_lm(sys.argv[1])
prompts, settings = [[5, 6, 7], [8, 9]], DecodingSettings(6, frozenset([2]), 0, temperature=0)
expected = decode(policy, prompts, settings)

def shard_by_fsdp2(joint):
    mesh = init_device_mesh("cpu", (2,))
    for layer in policy.model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(joint, mesh=mesh)

def shard_by_zero3(joint):
    import deepspeed
    from deepspeed.comm import torch as backend
    backend.build_shm_op = lambda: None  # compiles for minutes; gloo does without
    stage = {"stage": 3, "stage3_param_persistence_threshold": 0}
    config = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": stage, "zero_allow_untested_optimizer": True}
    return deepspeed.initialize(model=joint, optimizer=torch.optim.AdamW(joint.parameters()), config=config)[0]

def apart(weight):
    return isinstance(weight, DTensor) or weight.numel() == 0

def gradient(weight):
    if sys.argv[2] == "fsdp2":
        return weight.grad.full_tensor()
    from deepspeed.utils import safe_get_full_grad
    return safe_get_full_grad(weight)

joint = {"fsdp2": shard_by_fsdp2, "zero3": shard_by_zero3}[sys.argv[2]](Joint(policy))
for rollout in range(2):
    with whole_weights(joint, policy):
        with whole_weights(joint, policy):
            pass
        assert not apart(policy.lm_head.weight), "the inner block sharded them again"
    with whole_weights(joint, policy):
        if dist.get_rank() == 0:  # the other process would have to take part in every gathering
            assert decode(policy, prompts, settings) == expected
    assert apart(policy.lm_head.weight), "the weights were not sharded again"
    joint(torch.tensor([[5, 6, 7, 8]])).sum().backward()
    assert all(gradient(parameter).any() for parameter in joint.parameters())
dist.destroy_process_group()
os._exit(0)  # at the interpreter's own end gloo's threads abort now and then
"""


needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")


@pytest.mark.parametrize("kind", ["fsdp2", pytest.param("zero3", marks=needs_deepspeed)])
def test_a_rollout_gathers_once_and_training_goes_on(tiny_checkpoint, tmp_path, kind):
    (tmp_path / "shard.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    ran = subprocess.run(
        [*launch, str(tmp_path / "shard.py"), str(tiny_checkpoint), kind],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_a_module_that_is_not_sharded_is_left_alone():
    module = nn.Linear(2, 2)
    before = module.weight.detach().clone()
    with whole_weights(module, module):
        assert torch.equal(module.weight, before)
