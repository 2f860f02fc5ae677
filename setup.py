"""Builds what is not Python: the CPU kernels, and what reads modules for them.

The kernels are one plain shared library, each source compiled once for each instruction set; the reader is a module of
Python's stable interface. Both are optional: where no compiler is found, or one without OpenMP, or Python
without its headers, installation succeeds and attnzoo computes without them, as ``attnzoo.ops.backends()`` says. A
source that fails to compile for one instruction set loses that set's kernels only. What is missing is said at the end,
on stderr. ``CC`` and ``CXX`` name other compilers: g++ from 11 on, clang from 14 on, g++ 12 for aarch64.
Everything else about the package is in pyproject.toml.
"""

from __future__ import annotations

import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

KERNELS = Path("attnzoo/kernels/cpu")
PROBE = KERNELS / "isa.cpp"  # asks whether a machine has an instruction set
OLDEST_PYTHON = "cp311"
FLAGS = ["-std=gnu++17", "-O3", "-fPIC", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fvisibility=hidden", "-g0", "-Wno-maybe-uninitialized"]  # GCC 12 warns of its own AVX-512 header
SANITIZERS = ["-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SANITIZERS += ["-Wno-uninitialized"]  # of GCC 12's own AVX headers, which leave what is masked undefined
if os.environ.get("ATTNZOO_SANITIZE") != "1":  # python -m benchmarks.robustness.sanitize sets it
    SANITIZERS = []
X86 = {
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c"],
}


class BuildKernels(build_ext):
    """Links all instruction sets into one library that knows nothing of Python or torch."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the file name of a library, which carries no tag of the Python version: any may load it."""
        suffix = ".abi3.so" if self.ext_map[fullname].py_limited_api else ".so"
        return str(Path(*fullname.split(".")).with_suffix(suffix))

    def run(self) -> None:
        """Build everything, and say at the end what is missing."""
        self.built: set[str] = set()
        self.refused: dict[str, list[str]] = {}
        super().run()
        missing = [f"{e.name}: not built" for e in self.extensions if e.name not in self.built]
        missing += [f"{isa}: {', '.join(sources)} did not compile" for isa, sources in self.refused.items()]
        if missing:
            frame, title = "*" * 80, "attnzoo IS SLOWER THAN IT COULD BE: kernels are missing"
            print(frame, title, *missing, "The compiler's messages are above.", frame, sep="\n", file=sys.stderr)

    def build_extension(self, ext: Extension) -> None:
        """Compile and link one library."""
        if ext.py_limited_api:
            super().build_extension(ext)
        else:
            self._build_kernels(ext)
        self.built.add(ext.name)

    def _build_kernels(self, ext: Extension) -> None:
        """Compile each source for each instruction set; a set of which one is refused loses its kernels."""
        sets = {"baseline": [], **(X86 if platform.machine() in {"x86_64", "AMD64"} else {})}

        def compiled(job: tuple[str, str]) -> list[str]:
            source, isa = job
            try:
                return self.compiler.compile(
                    [source],
                    output_dir=str(Path(self.build_temp, isa)),
                    macros=[("ATTNZOO_ISA", isa)],
                    extra_postargs=[*FLAGS, *sets[isa], *SANITIZERS],
                    depends=ext.depends,
                )
            except CompileError:
                return []

        jobs = [(source, isa) for source in ext.sources for isa in sets]
        with ThreadPoolExecutor() as pool:
            objects = dict(zip(jobs, pool.map(compiled, jobs), strict=True))
        for source, isa in (job for job, names in objects.items() if not names):
            self.refused.setdefault(isa, []).append(Path(source).name)
        if len(self.refused) == len(sets):
            raise CompileError("the kernels compile for no instruction set")
        # the probe of a set without kernels stays: backends() then says what a machine misses
        kept = [names for (source, isa), names in objects.items() if isa not in self.refused or Path(source) == PROBE]
        self.compiler.link_shared_object(
            [name for names in kept for name in names],
            self.get_ext_fullpath(ext.name),
            extra_postargs=["-fopenmp", *SANITIZERS],
            target_lang="c++",
        )


setup(
    ext_modules=[
        Extension(
            "attnzoo.kernels.cpu.libattnzoo",
            sources=sorted(map(str, KERNELS.rglob("*.cpp"))),
            depends=sorted(map(str, KERNELS.rglob("*.h"))),
            language="c++",
            optional=True,
        ),
        Extension(
            "attnzoo.ops.read_modules",
            sources=["attnzoo/ops/read_modules.cpp"],
            depends=[str(KERNELS / "field.h")],
            extra_compile_args=["-std=gnu++17", "-fvisibility=hidden", "-g0", *SANITIZERS],
            extra_link_args=SANITIZERS,
            language="c++",
            py_limited_api=True,
            optional=True,
        ),
    ],
    cmdclass={"build_ext": BuildKernels},
    options={"bdist_wheel": {"py_limited_api": OLDEST_PYTHON}},
)
