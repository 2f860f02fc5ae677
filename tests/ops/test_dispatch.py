"""Which backend computes, and that an explicit choice never becomes another."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attnzoo import ops
from attnzoo.kernels.cpu import library
from attnzoo.ops import dispatch, eligibility
from tests.ops import cases
from tests.ops.cases import native_only


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make this an installation without a compiler; return where its library would be."""
    monkeypatch.delenv("ATTNZOO_ISA", raising=False)  # the libraries below have the baseline alone
    monkeypatch.setattr(library, "PATH", tmp_path / "libattnzoo.so")
    for cached in (library._open, library.kernels):
        monkeypatch.setattr(library, cached.__name__, cached.__wrapped__)
    monkeypatch.setattr(dispatch, "native_is_built", dispatch.native_is_built.__wrapped__)
    return tmp_path / "libattnzoo.so"


def test_backends_say_what_is_there():
    assert list(ops.backends()) == ["torch", "native", "triton"]
    assert ops.backends()["torch"] == (True, f"torch {torch.__version__}")


def torch_serves_because(reason: str) -> None:
    """Check that native kernels are refused for this reason, and that every operation and layer works without."""
    info = ops.backends()["native"]
    assert not info.available
    assert re.search(reason, info.detail)
    x = torch.randn(1, 3, 4, 5)
    torch.testing.assert_close(ops.global_pool(x).values[0], x.mean((2, 3)))
    assert eligibility.choose("global_pool", x, None) == "torch"
    with pytest.raises(RuntimeError, match=rf"backend 'native' is not available: .*{reason}"):
        ops.global_pool(x, backend="native")
    with pytest.raises(RuntimeError, match="not available"), ops.backend("native"):
        pytest.fail("entered a context whose backend is missing")


def test_without_the_library_torch_serves_and_says_so(not_built: Path):
    torch_serves_because("was not built: install attnzoo where there is a C")


def compile_library(path: Path, functions: list[str]) -> None:
    """Build a library whose functions answer 1, as an instruction set does that the machine has."""
    source = path.with_suffix(".c")
    source.write_text("".join(f"int {name}(void) {{ return 1; }}\n" for name in functions))
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-o", str(path), str(source)], check=True)


COMPILER = shutil.which("cc") or shutil.which("gcc")
WHOLE = ["attnzoo_has_baseline", *(f"attnzoo_{name}_baseline" for name in library._SIGNATURES)]


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
@pytest.mark.parametrize("missing", [WHOLE[0], WHOLE[1], WHOLE[-1]])
def test_with_a_library_of_older_sources_torch_serves_and_says_how_to_build_it(not_built: Path, missing: str):
    compile_library(not_built, [name for name in WHOLE if name != missing])
    torch_serves_because(f"older than the package, it lacks {missing}: build it again, by python setup.py build_ext")


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_library_that_lacks_nothing_is_taken(not_built: Path):
    """So that it is the missing function, above, and not the compiler's work."""
    compile_library(not_built, WHOLE)
    available, detail = ops.backends()["native"]
    assert available
    assert detail.startswith(f"baseline kernels in {not_built}")


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_set_that_did_not_compile_is_passed_over_and_said(not_built: Path):
    compile_library(not_built, [*WHOLE, "attnzoo_has_avx512"])
    available, detail = ops.backends()["native"]
    assert available
    assert library.instruction_sets() == ["baseline"]
    assert detail.startswith(
        f"baseline kernels in {not_built}; slower than need be: those for avx512, which this machine"
    )


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_a_library_without_kernels_for_this_machine_says_so(not_built: Path):
    compile_library(not_built, ["attnzoo_has_baseline", "attnzoo_global_pool_avx2"])
    torch_serves_because("has no kernels for this machine: build it again")


CALLS: list[Callable[..., object]] = [
    ops.global_pool,
    ops.squeeze_channels,
    lambda x, **kwargs: ops.apply_gates(x, (x[:, :1],), **kwargs),
    lambda x, **kwargs: ops.llam_gate(x, x, **kwargs),
    lambda x, **kwargs: ops.split_rows(x, torch.ones(2, 1, 4, dtype=torch.bool, device=x.device), **kwargs),
    lambda x, **kwargs: ops.spatial_conv(x, torch.ones(1, 2, 3, 3, dtype=x.dtype), **kwargs),
]


@native_only
@pytest.mark.parametrize("call", CALLS)
def test_an_explicit_backend_that_cannot_run_raises(call: Callable[..., object]):
    x = torch.randn(2, 2, 4, 5)
    for unfit in (x.double(), x.to("meta")):
        call(unfit)
        with pytest.raises(RuntimeError, match=r"native"):
            call(unfit, backend="native")
        with ops.backend("native"), pytest.raises(RuntimeError, match=r"native"):
            call(unfit)
    with pytest.raises(RuntimeError, match=r"torch\.func"):
        torch.func.vmap(lambda t: call(t, backend="native"))(x[None])
    with pytest.raises(ValueError, match=r"backend must be one of 'auto', 'torch', 'native', 'triton', got 'cuda'"):
        call(x, backend="cuda")


@native_only
def test_what_no_kernel_does_raises_when_asked_for():
    x = torch.randn(2, 3, 4, 5)
    for gates in ((torch.ones(4, 5),), (torch.ones(2, 3, 1, 1),) * 2, (torch.ones_like(x),)):
        assert torch.equal(ops.apply_gates(x, gates), x)
        with pytest.raises(RuntimeError, match="gates must be one"):
            ops.apply_gates(x, gates, backend="native")
    with pytest.raises(RuntimeError, match="all maps must have the dtype of x"):
        ops.llam_gate(x, x.double(), backend="native")
    assert ops.llam_gate(x, x.double(), shortcut=x.double()).dtype == torch.float32
    with pytest.raises(RuntimeError, match=r"K in \(1, 3, 5, 7\).*K = 9"):
        ops.spatial_conv(x[:, :2], torch.ones(1, 2, 9, 9), backend="native")


def test_unknown_context_raises():
    with pytest.raises(ValueError, match="got 'fast'"), ops.backend("fast"):
        pytest.fail("entered a context that does not exist")


@native_only
def test_contexts_nest_and_the_argument_wins(monkeypatch: pytest.MonkeyPatch):
    x = torch.randn(1, 2, 3, 4)
    assert eligibility.choose("global_pool", x, None) == "native"
    with ops.backend("torch"):
        assert eligibility.choose("global_pool", x, None) == "torch"
        assert eligibility.choose("global_pool", x, "native") == "native"
        with ops.backend("native"):
            assert eligibility.choose("global_pool", x, None) == "native"
        assert eligibility.choose("global_pool", x, None) == "torch"
    assert eligibility.choose("global_pool", x, None) == "native"
    assert eligibility.choose("global_pool", nn.Parameter(x), None) == "native"
    assert eligibility.choose("global_pool", x, None, families=("triton",)) == "torch"


NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")


@NO_CUDA
@pytest.mark.parametrize("call", CALLS)
def test_without_a_cuda_device_triton_says_so_and_raises(call: Callable[..., object]):
    info = ops.backends()["triton"]
    assert not info.available
    assert "no CUDA device" in info.detail or "not installed" in info.detail
    x = torch.randn(2, 2, 4, 5)
    with pytest.raises(RuntimeError, match="backend 'triton' is not available: "):
        call(x, backend="triton")
    with pytest.raises(RuntimeError, match="not available"), ops.backend("triton"):
        pytest.fail("entered a context whose backend is missing")


@native_only
def test_tensors_elsewhere_than_the_map_meet_no_kernel():
    x, away = torch.randn(2, 2, 4, 5), torch.ones(2, 2, 1, 1, device="meta")
    for call in (
        lambda: ops.squeeze_channels(x, away, backend="native"),
        lambda: ops.apply_gates(x, (torch.ones(2, 2, 1, 1),), blend=torch.ones((), device="meta"), backend="native"),
        lambda: ops.spatial_conv(x, torch.ones(1, 2, 3, 3, device="meta"), backend="native"),
    ):
        with pytest.raises(RuntimeError, match="all tensors must be on the device of x, cpu"):
            call()


@native_only
def test_an_operation_without_such_a_kernel_raises_when_asked_for_it():
    with pytest.raises(RuntimeError, match="backend 'native' cannot do this: there is no such kernel"):
        eligibility.choose("none", torch.randn(1, 2, 3, 4), "native", families=("triton",))


def test_bad_shapes_raise():
    x = torch.randn(2, 3, 4, 5)
    with pytest.raises(ValueError, match=r"at least one pixel, got \(2, 3, 0, 5\)"):
        ops.global_pool(x[:, :, :0])
    with pytest.raises(ValueError, match=r"at least one channel, got \(2, 0, 4, 5\)"):
        ops.squeeze_channels(x[:, :0])
    with pytest.raises(ValueError, match=r"gate must have shape \(2, 3, 1, 1\), got \(2, 3\)"):
        ops.squeeze_channels(x, torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"planes must have shape \(B, 2, H, W\), got \(2, 3, 4, 5\)"):
        ops.spatial_conv(x, torch.ones(1, 2, 3, 3))
    with pytest.raises(ValueError, match=r"K odd, got \(1, 2, 4, 4\)"):
        ops.spatial_conv(x[:, :2], torch.ones(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"bias must have shape \(1,\), got \(2,\)"):
        ops.spatial_conv(x[:, :2], torch.ones(1, 2, 3, 3), torch.ones(2))
    with pytest.raises(ValueError, match="at least one tensor"):
        ops.apply_gates(x, ())
    for name in ("b", "shortcut"):
        with pytest.raises(ValueError, match=rf"{name} must have the shape of x, \(2, 3, 4, 5\), got \(2, 3, 1, 1\)"):
            ops.llam_gate(x, x, **{name: torch.ones(2, 3, 1, 1)})
    for keep in (torch.ones(3, 2, 4), torch.ones(3, 2, 5, dtype=torch.bool), torch.ones(3, 4, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"keep must be boolean of shape \(R, 2 or 1, 4\), got torch\."):
            ops.split_rows(x, keep)
    with pytest.raises(ValueError, match=r"x must be a map \(B, C, H, W\), got \(3, 4, 5\)"):
        ops.split_rows(x[0], torch.ones(3, 2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"x must be a map \(B, C, H, W\), got \(4, 5\)"):
        ops.llam_gate(x[0, 0], x[0, 0])
    with pytest.raises(ValueError, match=r"broadcast to x \(2, 3, 4, 5\), got one of shape \(2, 2, 1, 1\)"):
        ops.apply_gates(x, (torch.ones(2, 2, 1, 1),))


@native_only
def test_threads_follow_torch(monkeypatch: pytest.MonkeyPatch):
    from attnzoo.kernels.cpu import launch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert launch._map(torch.zeros(1, 2, 3, 4))._obj.threads == 5


def test_importing_attnzoo_loads_no_kernel():
    code = "import sys, attnzoo; assert not [m for m in sys.modules if m.startswith('attnzoo.kernels')]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_installs_without_a_compiler(tmp_path: Path):
    """The build of the kernels fails, is reported, and nothing else is lost."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "setup.py", "build_ext", "--build-lib", str(tmp_path), "--build-temp", str(tmp_path)]
    tools = dict.fromkeys(("CC", "CXX", "LDSHARED", "LDCXXSHARED"), "/bin/false")
    run = subprocess.run(command, cwd=root, env=tools, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert 'building extension "attnzoo.kernels.cpu.libattnzoo" failed' in run.stdout + run.stderr
    assert not list(tmp_path.rglob("*.so"))


@native_only
def test_gates_are_cast_not_refused():
    x, channel, spatial, _ = cases.inputs((2, 3, 4, 5), torch.float32)
    half: list[Tensor] = [channel.half(), spatial.bfloat16()]
    expected = x * half[0] * half[1]
    torch.testing.assert_close(ops.apply_gates(x, half, backend="native"), expected)
