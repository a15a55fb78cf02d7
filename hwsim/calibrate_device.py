"""What a measurement was made on, in words; and what is missing where none can be made."""

from __future__ import annotations

import datetime
import importlib
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


class CalibrationError(OSError):
    """There is no GPU to measure, or a tree on it computes something else than the reference."""


def require_gpu() -> None:
    """Raise CalibrationError where PyTorch cannot use a CUDA GPU; the message says what is missing."""
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise CalibrationError(
            f"a CUDA GPU must be reached through PyTorch, which cannot be imported ({error}); "
            "pip install torch numba-cuda on a machine with an NVIDIA GPU"
        ) from error
    if torch.cuda.is_available():
        return
    if torch.version.cuda is None:
        raise CalibrationError(
            f"PyTorch must be built for CUDA, got {torch.__version__}; install a CUDA build of torch, and numba-cuda"
        )
    driver = driver_version()
    found = f"driver {driver}, but no GPU it can use" if driver else "no NVIDIA driver"
    raise CalibrationError(f"a CUDA GPU must be present, got {found} (PyTorch for CUDA {torch.version.cuda} is)")


def describe() -> dict[str, Any]:
    """Return the GPU, the CPU, the versions and the date; None for what cannot be found out."""
    torch = importlib.import_module("torch")
    return {
        "gpu": _gpu(torch),
        "cpu": _cpu(),
        "versions": {name: _version(name) for name in ("numpy", "numba", "numba-cuda", "torch", "torchrl", "triton")}
        | {"python": platform.python_version(), "cuda_runtime": torch.version.cuda, "driver": driver_version()},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def driver_version() -> str | None:
    """Return the NVIDIA driver's version, None where there is none."""
    try:
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", Path("/proc/driver/nvidia/version").read_text(encoding="utf-8"))
        if found:
            return found.group()
    except OSError:
        pass
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.splitlines()[0].strip() or None if ran.stdout else None


def _gpu(torch: Any) -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"name": "none"}
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "compute_capability": f"{found.major}.{found.minor}",
        "n_sms": found.multi_processor_count,
        "l2_bytes": getattr(found, "L2_cache_size", None),
        "memory_bytes": found.total_memory,
    }


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
