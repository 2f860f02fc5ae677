"""Compiles Triton kernels for CUDA devices that are not there, and reads from the result what each will need.

The launchers run as they are, with a driver that only tells which device to build for: so what is built is what would
be launched, specialised as it would be.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

WARP = 32


class Build(NamedTuple):
    """One compiled kernel."""

    kernel: str
    registers: int
    spilled_bytes: int
    shared_bytes: int
    widths: dict[str, int]
    """Bytes of the narrowest access to each pointer."""


class _Driver:
    """Enough of a driver to compile with."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, WARP)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return self.target.arch  # compiled kernels are kept by device

    def get_current_stream(self, device: int | None = None) -> int:  # noqa: ARG002 - as a driver's
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


@contextlib.contextmanager
def compiled(capability: int) -> Iterator[list[Build]]:
    """Compile what is launched inside the block for a compute capability (80 for 8.0), and run none of it."""
    builds: list[Build] = []
    run, active = JITFunction.run, triton.runtime.driver._active  # noqa: SLF001

    def build(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:  # noqa: ARG001 - never launched
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        builds.append(_read(self, kernel))
        return kernel

    triton.runtime.driver.set_active(_Driver(capability))
    JITFunction.run = build
    try:
        yield builds
    finally:
        JITFunction.run = run
        triton.runtime.driver._active = active  # noqa: SLF001


def _read(function: Any, kernel: Any) -> Build:
    assembly = kernel.asm["ptx"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(assembly)
        target = re.search(r"^\.target (\w+)", assembly, re.MULTILINE)[1]
        command = [triton.knobs.nvidia.ptxas.path, "-v", f"-arch={target}", source, "-o", Path(folder, "kernel.cubin")]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr  # noqa: S603
    stores, loads = map(int, re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log).groups())
    registers = int(re.search(r"Used (\d+) registers", log)[1])
    return Build(function.__name__, registers, stores + loads, kernel.metadata.shared, _widths(kernel))


def _widths(kernel: Any) -> dict[str, int]:
    """Return the narrowest access to each pointer: addresses are followed back to the parameter that they begin at."""
    kinds = [(name, kind) for name, kind in kernel.src.signature.items() if kind != "constexpr"]
    sources: dict[str, set[str]] = {}
    origins: dict[str, str] = {}
    accesses: list[tuple[str, int]] = []
    for line in kernel.asm["ptx"].splitlines():
        access = re.search(r"\b(?:ld|st)\.global\S*?(?:\.v(\d))?\.[bfsu](\d+)\s.*\[\s*(%rd\d+)", line)
        registers = re.findall(r"%rd\d+", line)
        parameter = re.search(r"ld\.param\S*\s+(%rd\d+), \[\w+_param_(\d+)\]", line)
        if access:
            accesses.append((access[3], int(access[1] or 1) * int(access[2]) // 8))
        elif parameter:
            name, kind = kinds[int(parameter[2])]
            origins |= {parameter[1]: name} if kind.startswith("*") else {}
        elif registers:
            sources.setdefault(registers[0], set()).update(registers[1:])
    widths: dict[str, int] = {}
    for address, width in accesses:
        name = _origin(address, sources, origins).removesuffix("_ptr")
        widths[name] = min(width, widths.get(name, width))
    return dict(sorted(widths.items()))


def _origin(register: str, sources: dict[str, set[str]], origins: dict[str, str]) -> str:
    """Return the one pointer that an address is computed from."""
    seen: set[str] = set()
    queue = [register]
    while queue:
        found = queue.pop()
        if found not in seen:
            seen.add(found)
            queue += sources.get(found, ())
    (name,) = {origins[found] for found in seen if found in origins}
    return name
