"""The machine that a figure belongs to."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Processor, cores, kernel, Python and NumPy, and how busy the machine was when this was called."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": _numpy(),
        "load": round(os.getloadavg()[0], 2),
    }


def sentence(machine: dict[str, Any]) -> str:
    """The same for people."""
    numpy = f"NumPy {machine['numpy']}" if machine["numpy"] else "no NumPy"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}, {numpy}; "
        f"load {machine['load']} at the start"
    )


def _processor() -> str:
    """The name of the processor, as Linux knows it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.machine()


def _numpy() -> str | None:
    try:
        import numpy  # noqa: PLC0415  (optional)
    except ImportError:
        return None
    return str(numpy.__version__)
