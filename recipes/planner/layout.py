"""How a launch config of Accelerate divides a model over processes."""

from dataclasses import dataclass, replace

from recipes.recipe import Recipe


@dataclass(frozen=True)
class Layout:
    """How many processes there are, and what each holds a share of only."""

    processes: int = 1
    weights: bool = False
    gradients: bool = False
    optimizer: bool = False
    mixed_precision: str = "no"
    casts: bool = False  # DeepSpeed's way of mixed precision: weights themselves are in 16 bits, masters in fp32 beside

    @property
    def shards(self) -> bool:
        """Whether weights are gathered layer by layer when they are needed."""
        return self.weights

    def of_replicas(self, size: int) -> "Layout":
        """Return the layout of stages that sample and score, where `size` processes hold one model together."""
        return replace(self, processes=self.processes // size)

    def share(self, number: float, divided: bool) -> int:
        """Return what one process holds of `number` bytes."""
        return int(number / self.processes) if divided else int(number)


def layout_of(recipe: Recipe) -> Layout:
    """Return the layout of the recipe's launch config; without one a stage runs in one process that shards nothing."""
    if recipe.accelerate is None:
        return Layout()
    launch = recipe.launch
    kind = str(launch.get("distributed_type", "NO")).upper()
    stage = int((launch.get("deepspeed_config") or {}).get("zero_stage", 0)) if kind == "DEEPSPEED" else 0
    precision = str(launch.get("mixed_precision", "no"))
    whole = kind == "FSDP" and _shards_optimizer_only(launch.get("fsdp_config") or {})
    return Layout(
        processes=int(launch.get("num_processes", 1)),
        weights=stage == 3 or (kind == "FSDP" and not whole),
        gradients=stage >= 2 or kind == "FSDP",
        optimizer=stage >= 1 or kind == "FSDP",
        mixed_precision=precision,
        casts=kind == "DEEPSPEED" and precision in ("bf16", "fp16"),
    )


def _shards_optimizer_only(options: dict) -> bool:
    """Whether FSDP keeps gathered weights from the forward to the backward pass (ZeRO-2's way)."""
    return str(options.get("fsdp_reshard_after_forward", True)).upper() in ("FALSE", "SHARD_GRAD_OP")
