"""What the Triton kernels become for devices that are not here: nothing is spilled, maps are read in wide accesses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton is not installed, there are no kernels to compile")

from benchmarks.triton.cases import LAYOUTS, MAPS, Case
from benchmarks.triton.compiled import Build, compiled

LEAN = ("spatial_conv", "spatial_conv backward", "global_pool, averages", "squeeze_channels, inference", "llam_gate")
"""Launches that are tested on their own, or of a kernel of which another needs more."""
FLAT = ("apply_gates_fwd", "global_pool_bwd", "llam_gate", "split_rows")
"""Kernels to which an image is one row; to the others the ends of a map's own rows matter."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def allowed(build: Build, case: Case) -> int:
    """Return the widest access, up to 16 bytes, for which a map's rows are aligned."""
    _, channels, height, width = case.shape
    row = channels if case.layout == "channels-last" else height * width
    if any(name in build.kernel for name in FLAT):
        row = channels * height * width
    return math.gcd(row * case.map(0).element_size(), 16)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("shape", "dtype", "capability"),
    [
        ((1, 256, 56, 56), "bf16", 80),
        ((1, 256, 56, 56), "bf16", 90),
        ((1, 128, 256, 256), "fp32", 80),
        ((1, 1024, 14, 14), "bf16", 90),
        ((1, 2048, 7, 7), "fp16", 80),
    ],
    ids=str,
)
def test_nothing_is_spilled_and_accesses_are_as_wide_as_alignment_allows(
    shape: tuple[int, int, int, int], dtype: str, capability: int, layout: str
):
    case = Case(shape, dtype, layout)
    with compiled(capability) as builds:
        for name, work in case.works().items():
            if name not in LEAN:
                work.run()
    assert len({build.kernel for build in builds}) >= 10
    for build in builds:
        assert build.spilled_bytes == 0, build
        assert build.registers <= 168, build  # three programs of 128 threads on a multiprocessor, at the least
        widths = [width for name, width in build.widths.items() if name in MAPS]
        assert widths or "join" in build.kernel
        assert all(width == allowed(build, case) for width in widths), (build, allowed(build, case))


@pytest.mark.parametrize("size", [3, 7])
def test_the_convolution_spills_nothing(size: int):
    works = Case((1, 8, 56, 56), "fp32", "NCHW", kernel_size=size).works()
    with compiled(80) as builds:
        works["spatial_conv"].run()
        works["spatial_conv backward"].run()
    assert [build.kernel for build in builds] == ["_spatial_conv_fwd_kernel", "_spatial_conv_bwd_kernel"]
    assert all(build.spilled_bytes == 0 and build.registers <= 128 for build in builds), builds
