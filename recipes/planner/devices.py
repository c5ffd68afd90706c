"""GPUs by name: memory, peak operations and memory bandwidth, from their makers' data sheets (dense, without sparsity).

* H200 SXM: NVIDIA H200 Tensor Core GPU datasheet (1,979 TFLOPS in bf16 with sparsity, half of it dense).
* H100 SXM: NVIDIA H100 Tensor Core GPU datasheet.
* A100 80 GB SXM: NVIDIA A100 Tensor Core GPU datasheet.
* L40S: NVIDIA L40S datasheet (733 TFLOPS in bf16 with sparsity; memory with error correction on).
* RTX 4090: NVIDIA Ada GPU architecture whitepaper, appendix A (bf16 with accumulation in fp32).

The numbers were read from those documents from memory, not measured.
"""

import re
from dataclasses import dataclass

from chat_model.errors import InputError, suggestion

GIB = 2**30
RESERVED = GIB  # bytes that the driver's context, the libraries' workspaces and fragmentation take; assumed


@dataclass(frozen=True)
class Device:
    """What a device can hold and do."""

    name: str
    memory: float  # bytes
    bf16_operations: float | None = None  # floating-point operations a second, dense
    fp32_operations: float | None = None  # without TF32, which torch leaves off
    bandwidth: float | None = None  # bytes a second from its memory

    @property
    def usable(self) -> float:
        """Bytes that a run may take."""
        return self.memory - RESERVED


DEVICES = (
    Device("H200", 140 * GIB, 989e12, 67e12, 4.8e12),
    Device("H100", 80 * GIB, 989e12, 67e12, 3.35e12),
    Device("A100", 80 * GIB, 312e12, 19.5e12, 2.04e12),
    Device("L40S", 45 * GIB, 362e12, 91.6e12, 0.864e12),
    Device("RTX 4090", 24 * GIB, 165e12, 82.6e12, 1.008e12),
)


def find_device(name: str) -> Device:
    """Return the device of a name such as "h100", "RTX 4090" or "NVIDIA H100 80GB HBM3". Raises InputError."""
    wanted = _plain(name)
    for device in DEVICES:
        if _plain(device.name) in wanted or wanted == _plain(device.name).removeprefix("rtx"):
            return device
    names = [device.name for device in DEVICES]
    raise InputError(f"device: no GPU '{name}'{suggestion(name, names)}; expected one of {', '.join(names)}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
