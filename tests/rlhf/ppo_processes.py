"""Runs PPO in processes of their own, and kills them; started by `test_ppo_resume.py`, which reads what is left.

Everything is imported once; each scenario is a fork, on one process and on two that meet over gloo. The parent computes
nothing with torch, so a fork finds no threads in an odd state.
"""

import importlib.util
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from chat_model.rows import read_rows
from chat_model.stage import StageRun
from rlhf.ppo import session
from rlhf.ppo import train as training
from rlhf.ppo.config import PPOConfig
from rlhf.ppo.models.full import load_policy_and_critic
from rlhf.ppo.models.interface import Scorers
from rlhf.ppo.rollout import RewardSettings, estimate
from rlhf.ppo.saved_rollouts import read_collected
from rlhf.ppo.session import start_processes
from rlhf.ppo.update import UpdateSettings, accumulate_gradients

KILL_IN = ("score 1", "score 3", "save 2", "score 4")


def letters(conversations) -> torch.Tensor:
    """Score a text by how much of the answer is letters."""
    answers = [conversation[-1].content for conversation in conversations]
    return torch.tensor([sum(map(str.isalpha, answer)) / (1 + len(answer)) for answer in answers])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def shipped(name: str) -> dict[str, str]:
    """What `accelerate launch --config_file recipes/accelerate/NAME.yaml` tells its processes of FSDP and DeepSpeed."""
    file = Path(__file__).parents[2] / "recipes" / "accelerate" / f"{name}.yaml"
    arguments = _validate_launch_command(launch_command_parser().parse_args(["--config_file", str(file), "x.py"]))[0]
    arguments.deepspeed_fields_from_accelerate_config = ""  # the launcher adds it last
    environment = (
        prepare_deepspeed_cmd_env(arguments)[1] if arguments.use_deepspeed else prepare_multi_gpu_env(arguments)
    )
    return {key: value for key, value in environment.items() if key.startswith(("FSDP_", "ACCELERATE_DEEPSPEED_"))}


def shard_by(name: str) -> None:
    """Have Accelerate shard over CPUs as the shipped launch config has it shard over GPUs; it refuses to, if asked.

    Args:
        name: fsdp2, zero2 or zero3, which train in fp32 here, or zero3-bf16.
    """
    name, _, precision = name.partition("-")
    os.environ.update(shipped(name))

    def start(*arguments: Any) -> Accelerator:
        accelerator = start_processes(*arguments)
        if name == "fsdp2":
            accelerator.state.fsdp_plugin, kind = FullyShardedDataParallelPlugin(), DistributedType.FSDP
        else:
            accelerator.state.deepspeed_plugins, kind = zero_plugin(precision or "no"), DistributedType.DEEPSPEED
            accelerator.deepspeed_engine_wrapped = None
        PartialState().distributed_type = accelerator.state.distributed_type = kind
        return accelerator

    session.start_processes = start


def zero_plugin(precision: str) -> DeepSpeedPlugin:
    import deepspeed.comm.torch

    deepspeed.comm.torch.build_shm_op = lambda: None  # compiles for minutes; gloo does without
    plugin = DeepSpeedPlugin()
    plugin.set_mixed_precision(precision)
    plugin.select(_from_accelerator_state=True)
    plugin.deepspeed_config["zero_optimization"]["stage3_param_persistence_threshold"] = 0  # small weights apart, too
    return plugin


def run_ppo(folder: Path, settings: dict, kill_in: str, sharded_by: str | None = None) -> None:
    """Train into `folder`; `kill_in` is "score N" (step 4 of iteration N), "save N" (half a checkpoint) or "never"."""
    if sharded_by:
        shard_by(sharded_by)
    point, number = kill_in.split() if kill_in != "never" else ("never", "0")
    calls: list[int] = []

    def helpfulness(conversations) -> torch.Tensor:
        calls.append(len(conversations))
        if point == "score" and len(calls) == int(number):
            die()
        return letters(conversations)

    save_state = Accelerator.save_state

    def cut_short(self, target) -> None:
        save_state(self, target)
        if point == "save" and f"{int(number):06d}" in target:
            for file in Path(target).glob("*.safetensors"):
                file.write_bytes(b"half")
            die()

    Accelerator.save_state = cut_short
    folder.mkdir(exist_ok=True)
    is_main = os.environ["RANK"] == "0"
    training.train(StageRun(folder, is_main=is_main), PPOConfig(**settings), Scorers(helpfulness, letters))


def save_gradients(folder: Path, settings: dict, sharded: bool) -> None:
    """Leave the gradients of one mini-batch, the rows of `rollout.jsonl` dealt to the ranks, whole in a file."""
    accelerator = start_processes()
    module = load_policy_and_critic(settings["model_name_or_path"], settings["helpfulness_reward_model"], None, False)
    trained = _shard(module) if sharded else accelerator.prepare(module)
    rows = list(read_rows(folder / "rollout.jsonl"))[accelerator.process_index :: accelerator.num_processes]
    collected = read_collected(rows, pad_token_id=0, device=accelerator.device)
    reward_settings = RewardSettings(0.1, 0.15, 0.5, 1.0, 0.95, whiten_advantages=True)
    rollout = estimate(**vars(collected), settings=reward_settings, reduce_sum=accelerator.reduce)
    update_settings = UpdateSettings(8, 1, 10**9 if accelerator.num_processes == 1 else 40, 0.7, 0.2, 0.2, 1.0)
    sums = accumulate_gradients(accelerator, trained, rollout, list(range(rollout.num_rows)), update_settings)
    gradients = {name: _whole(parameter.grad) for name, parameter in module.named_parameters()}
    losses = {"policy_loss": sums.policy_loss / sums.tokens, "value_loss": sums.value_loss / sums.tokens}
    if accelerator.is_main_process:
        torch.save({**gradients, **losses}, folder / f"gradients-{accelerator.num_processes}-{sharded}.pt")
    accelerator.wait_for_everyone()


def _shard(module: torch.nn.Module) -> torch.nn.Module:
    """Shard every layer and then the rest over a mesh of CPUs, as Accelerate's FSDP2 does over GPUs."""
    mesh = init_device_mesh("cpu", (2,))
    for model in (module.policy, module.critic):
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
    return fully_shard(module, mesh=mesh)


def _whole(gradient):
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient


def fork(work, ranks: int) -> list[int]:
    """Run `work` in `ranks` forks and return how each ended: 0, or the negative number of a signal."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [_start(work, rank, ranks, port) for rank in range(ranks)]
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]


def _start(work, rank: int, ranks: int, port: int) -> int:
    if process := os.fork():
        return process
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), ACCELERATE_USE_CPU="true")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main(folder: Path) -> None:
    """Run every scenario of `settings.json` in `folder`, and note how its processes ended."""
    settings, endings = json.loads((folder / "settings.json").read_text()), {}
    has_deepspeed = importlib.util.find_spec("deepspeed") is not None
    if has_deepspeed:
        importlib.import_module("deepspeed")  # takes seconds, which no fork shall spend
    for ranks in (1, 2):
        whole = f"whole-{ranks}"
        endings[whole] = fork(lambda name=whole: run_ppo(folder / name, settings, "never"), ranks)
        for kill_in in KILL_IN if ranks == 1 else KILL_IN[2:]:
            name = f"{kill_in.replace(' ', '-')}-{ranks}"
            endings[name] = fork(lambda name=name, when=kill_in: run_ppo(folder / name, settings, when), ranks)
            endings[f"{name} again"] = fork(lambda name=name: run_ppo(folder / name, settings, "never"), ranks)
    for kind in ("fsdp2", "zero2", "zero3") if has_deepspeed else ("fsdp2",):
        for name, kill_in in ((kind, "never"), (f"{kind}-killed", "score 6"), (f"{kind}-killed", "never")):
            endings[f"{name} {kill_in}"] = fork(
                lambda name=name, when=kill_in, kind=kind: run_ppo(folder / name, settings, when, sharded_by=kind), 2
            )
            endings[f"{name} {kill_in} left"] = [path.name for path in (folder / name).glob("checkpoints/*")]
    if has_deepspeed:
        low = {**settings, "frozen_dtype": "bfloat16"}
        endings["bf16"] = fork(lambda: run_ppo(folder / "bf16", low, "never", sharded_by="zero3-bf16"), 2)
    endings["gradients-1"] = fork(lambda: save_gradients(folder, settings, sharded=False), 1)
    endings["gradients-2"] = fork(lambda: save_gradients(folder, settings, sharded=False), 2)
    endings["gradients-sharded"] = fork(lambda: save_gradients(folder, settings, sharded=True), 2)
    (folder / "endings.json").write_text(json.dumps(endings))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
