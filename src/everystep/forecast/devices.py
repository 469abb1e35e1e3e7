"""The devices that can be planned for: public facts, what of them can be used, what is assumed to be reached.

Memory, rates and bandwidths are the vendors' figures for one device as JAX counts devices; dense rates, never
those with sparsity. Sources, by name of the document:

- v5e: Google Cloud, "TPU v5e" (16 GB HBM2, 819 GB/s, 197 TFLOP/s bfloat16, 1,600 Gbit/s between chips).
- v3: Google Cloud, "TPU v3" (32 GB HBM2, 900 GB/s, 123 TFLOP/s bfloat16 a chip; JAX counts its two cores).
- T4: NVIDIA, "T4 Tensor Core GPU" data sheet (16 GB GDDR6, 320 GB/s, 8.1 TFLOP/s float32). Turing has no
  bfloat16 units: it is computed in float32, at that rate.
- L4: NVIDIA, "L4 Tensor Core GPU" (24 GB, 300 GB/s, 121 TFLOP/s bfloat16, 30.3 float32).
- A100: NVIDIA, "A100 Tensor Core GPU", SXM (40 GB with 1,555 GB/s, 80 GB with 2,039; 312 and 19.5 TFLOP/s).
- H100, H200: NVIDIA, "H100", "H200 Tensor Core GPU", SXM (80 GB, 3,350 GB/s; 141 GB, 4,800 GB/s; 989 and 67).
- CPU: no data sheet, but this machine's own memory and number of cores, at 16 float32 products and as many
  additions a cycle and core (two units of eight lanes), 2.5 GHz, and 10 GB/s a core.

TPUs compute float32 products in bfloat16 passes, by JAX's default precision in one: the rates are equal. The
links of v3 and between two T4 are no vendor's figures but cautious guesses.
"""

import os
from dataclasses import dataclass
from typing import Literal

Family = Literal["tpu", "gpu", "cpu"]
Dtype = Literal["bfloat16", "float32"]

FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"  # JAX's own variable: how much of a GPU it takes
_PREALLOCATED = 0.75  # and its value where nobody sets it
_RESERVE = 0.05  # of the memory, for the runtime and for what lies between buffers


@dataclass(frozen=True, slots=True)
class Device:
    """`chips` as JAX counts devices; memory in bytes, rates in operations a second and bandwidths in bytes a
    second are each chip's. `link`: between chips, 0 where there is one."""

    name: str
    title: str
    family: Family
    chips: int
    memory: float
    bfloat16: float
    float32: float
    bandwidth: float
    link: float = 0.0

    def rate(self, dtype: Dtype) -> float:
        """Operations a second of one chip's products in a dtype."""
        return self.bfloat16 if dtype == "bfloat16" else self.float32

    def room(self) -> float:
        """Bytes a chip that a run can have. Of a GPU JAX takes three quarters (or `FRACTION` of it); a
        twentieth is kept for the runtime.

        >>> DEVICES["v5e-8"].room() / 1e9
        15.2
        """
        share = 1 - _RESERVE
        if self.family == "gpu":
            share = min(share, fraction())
        return share * self.memory


def fraction() -> float:
    """The share of a GPU's memory that JAX takes, as the environment says."""
    try:
        return min(1.0, float(os.environ[FRACTION]))
    except (KeyError, ValueError):
        return _PREALLOCATED


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What is taken to be reached: of the rate in updates and prefills, of rate or bandwidth in decoding."""

    compute: float
    decode: float
    compile: float  # seconds for one compiled shape
    fixed: float  # seconds of a run for data, loading and report


# Assumed until measured on such a device: what dense models of this size commonly reach under XLA, without
# attention kernels of its own. The CPU's are set by the steps of the tiny recipe (docs/plan.md).
EFFICIENCY: dict[Family, Efficiency] = {
    "tpu": Efficiency(0.4, 0.5, 25.0, 300.0),
    "gpu": Efficiency(0.35, 0.4, 20.0, 300.0),
    "cpu": Efficiency(0.5, 0.25, 4.0, 60.0),
}


def _cpu() -> Device:
    cores = os.cpu_count() or 1
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    rate = cores * 2.5e9 * 32
    return Device("cpu", f"this machine's {cores} cores", "cpu", 1, memory, rate, rate, cores * 10e9)


_G, _T = 1e9, 1e12
DEVICES: dict[str, Device] = {
    d.name: d
    for d in (
        Device("v5e-8", "TPU v5e, 8 chips", "tpu", 8, 16 * _G, 197 * _T, 197 * _T, 819 * _G, 200 * _G),
        Device("v3-8", "TPU v3, 8 cores", "tpu", 8, 16 * _G, 61.5 * _T, 61.5 * _T, 450 * _G, 80 * _G),
        Device("t4", "NVIDIA T4", "gpu", 1, 16 * _G, 8.1 * _T, 8.1 * _T, 320 * _G),
        Device("t4x2", "two NVIDIA T4", "gpu", 2, 16 * _G, 8.1 * _T, 8.1 * _T, 320 * _G, 12 * _G),
        Device("l4", "NVIDIA L4", "gpu", 1, 24 * _G, 121 * _T, 30.3 * _T, 300 * _G),
        Device("a100-40", "NVIDIA A100 40 GB", "gpu", 1, 40 * _G, 312 * _T, 19.5 * _T, 1555 * _G),
        Device("a100-80", "NVIDIA A100 80 GB", "gpu", 1, 80 * _G, 312 * _T, 19.5 * _T, 2039 * _G),
        Device("h100", "NVIDIA H100", "gpu", 1, 80 * _G, 989 * _T, 67 * _T, 3350 * _G),
        Device("h200", "NVIDIA H200", "gpu", 1, 141 * _G, 989 * _T, 67 * _T, 4800 * _G),
        _cpu(),
    )
}


def device(name: str) -> Device:
    """The device of a name, in any case. Raises ValueError, one line, for another.

    >>> device("V5E-8").chips
    8
    """
    found = DEVICES.get(name.lower())
    if found is None:
        raise ValueError(f"--device {name!r} is not known; there are {', '.join(DEVICES)}")
    return found
