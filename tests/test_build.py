"""What setup.py does where a compiler refuses a source, and which compilers take all of them."""

from __future__ import annotations

import ctypes
import os
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "attnzoo" / "kernels" / "cpu"
COMPILER = shutil.which(os.environ.get("CXX", "g++"))
NEWER = range(11, 30)
COMPILERS = [c for v in NEWER for c in (f"g++-{v}", f"clang++-{v + 3}") if shutil.which(c)]
COMPILERS += [c for c in ("aarch64-linux-gnu-g++",) if shutil.which(c)]
COMPILERS = [c for c in COMPILERS if os.path.realpath(shutil.which(c) or c) != os.path.realpath(COMPILER or "")]
NOTHING = pytest.mark.skip(reason="there is no compiler besides the one that built the kernels")


def build(folder: Path, refused: str) -> subprocess.CompletedProcess[str]:
    """Build two of the sources, of which one is an error under the preprocessor's condition ``refused``."""
    sources = folder / "attnzoo" / "kernels" / "cpu"
    sources.mkdir(parents=True)
    shutil.copy(ROOT / "setup.py", folder)
    (sources / "gates").mkdir()
    for name in ("isa.cpp", "gates/split_rows.cpp", "kernel.h", "simd.h"):
        shutil.copy(KERNELS / name, sources / name)
    with (sources / "gates" / "split_rows.cpp").open("a") as file:
        file.write(f"#if {refused}\n#error refused\n#endif\n")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
@pytest.mark.parametrize(
    ("refused", "kept"),
    [
        ("defined(__AVX2__) && !defined(__AVX512F__)", {"baseline", "avx512"}),
        ("!defined(__AVX2__)", {"avx2", "avx512"}),
    ],
)
def test_a_source_that_fails_loses_its_own_instruction_set(refused: str, kept: set[str], tmp_path: Path):
    done = build(tmp_path, refused)
    library = ctypes.CDLL(str(tmp_path / "attnzoo" / "kernels" / "cpu" / "libattnzoo.so"))
    built = {isa for isa in ("baseline", "avx2", "avx512") if hasattr(library, f"attnzoo_split_rows_{isa}")}
    assert built == kept
    (lost,) = {"baseline", "avx2", "avx512"} - kept
    assert hasattr(library, f"attnzoo_has_{lost}")  # so that backends() can say what this machine misses
    assert "SLOWER THAN IT COULD BE" in done.stderr
    assert f"\n{lost}: split_rows.cpp did not compile\n" in done.stderr


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
def test_where_no_set_compiles_installation_goes_on_and_says_so(tmp_path: Path):
    done = build(tmp_path, "1")
    assert not (tmp_path / "attnzoo" / "kernels" / "cpu" / "libattnzoo.so").exists()
    assert "attnzoo.kernels.cpu.libattnzoo: not built" in done.stderr


def openmp_header(compiler: str, folder: Path) -> list[str]:
    """Return what lets a compiler that came without the header of OpenMP find what the kernels need of it."""
    command = [compiler, "-E", "-x", "c++", "-fopenmp", "-"]
    if subprocess.run(command, input="#include <omp.h>", capture_output=True, text=True, check=False).returncode == 0:
        return []
    (folder / "omp.h").write_text('extern "C" { int omp_get_num_threads(void); int omp_get_thread_num(void); }\n')
    return ["-isystem", str(folder)]


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS or [pytest.param("", marks=NOTHING)])
def test_compilers_take_every_source(compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Their syntax, templates included; with ``CC`` and ``CXX`` set, setup.py builds the library by any of them."""
    settings: dict[str, Any] = settings_of_setup(monkeypatch)
    flags = [f for f in settings["FLAGS"] if not ("clang" in compiler and f == "-Wno-maybe-uninitialized")]
    sets = {"baseline": [], **({} if "aarch64" in compiler else settings["X86"])}
    flags += openmp_header(compiler, tmp_path)

    def refused(job: tuple[str, Path]) -> str:
        isa, source = job
        command = [compiler, *flags, *sets[isa], f"-DATTNZOO_ISA={isa}", "-fsyntax-only", str(source)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(refused, [(isa, source) for isa in sets for source in sorted(KERNELS.rglob("*.cpp"))]))
    assert "error" not in "".join(said), "".join(said)


def settings_of_setup(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what setup.py defines, without building."""
    monkeypatch.setattr("setuptools.setup", lambda **_: None)
    monkeypatch.chdir(ROOT)
    return runpy.run_path(str(ROOT / "setup.py"))
