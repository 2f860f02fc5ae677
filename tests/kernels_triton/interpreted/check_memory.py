"""What the Triton kernels read and write: every byte of a map once, all of the outputs, nothing beyond, no races."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError

from benchmarks.triton.cases import DTYPES, LAYOUTS, MAPS, Case
from benchmarks.triton.meter import metered

SHAPES = [(2, 130, 3, 5), (1, 3, 11, 13), (2, 16, 4, 4), (1, 5, 1, 1)]
NAMES = list(Case(SHAPES[0], "fp32", "NCHW").works())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_maps_are_read_and_written_once_within_bounds_and_without_races(name: str, layout: str):
    for shape in SHAPES:
        for dtype in DTYPES if shape == SHAPES[0] and not name.startswith("spatial_conv") else ["bf16"]:
            case = Case(shape, dtype, layout, kernel_size=3)
            work = case.works()[name]
            with metered() as launches:
                work.run()
            assert not [race for launch in launches for race in launch.races]
            assert not any(bool(output.isnan().any()) for output in work.outputs)
            moved = [
                n for launch in launches for part in (launch.read, launch.written) for k, n in part.items() if k in MAPS
            ]
            assert moved == [case.map().numel() * case.map().element_size()] * work.floor


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_every_time(name: str, layout: str):
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        work = Case(SHAPES[0], "fp32", layout, kernel_size=3).works()[name]
        work.run()
        results.append(work.outputs)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@triton.jit
def _beyond_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i))


@triton.jit
def _race_kernel(x_ptr, y_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i) + tl.program_id(0))


@triton.jit
def _in_place_kernel(x_ptr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x_ptr + i, tl.load(x_ptr + (i ^ BLOCK)))


def test_the_meter_sees_what_it_should():
    with (
        metered(),
        pytest.raises(InterpreterError, match=r"_beyond_kernel: load of .* is out of every argument's bounds"),
    ):
        _beyond_kernel[(1,)](torch.zeros(60), torch.zeros(64), BLOCK=64)
    with metered() as launches:
        _race_kernel[(2,)](torch.zeros(64), torch.zeros(64), BLOCK=64)
        _in_place_kernel[(2,)](torch.zeros(128), BLOCK=64)
    assert launches[0].races == ["y is written twice"]
    assert (launches[0].read, launches[0].written) == ({"x": 512}, {"y": 512})
    assert launches[1].races == [
        "x is read where another program writes",
        "x is written where another program reads",
    ]
