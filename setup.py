"""Builds what is not Python: the CPU kernels, and ways past Python to two of them.

The kernels are one plain shared library, each source compiled once for each instruction set; the ways to them are a
module of Python's stable interface. Both are optional: where no compiler is found, or one without OpenMP, or Python
without its headers, installation succeeds and attnzoo computes without them, as ``attnzoo.ops.backends()`` says.
Everything else about the package is in pyproject.toml.
"""

from __future__ import annotations

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = Path("attnzoo/kernels/cpu")
OLDEST_PYTHON = "cp311"
FLAGS = ["-std=gnu++17", "-O3", "-fPIC", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fvisibility=hidden", "-g0", "-Wno-maybe-uninitialized"]  # GCC 12 warns of its own AVX-512 header
SANITIZERS = ["-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SANITIZERS += ["-Wno-uninitialized"]  # of GCC 12's own AVX headers, which leave what is masked undefined
if os.environ.get("ATTNZOO_SANITIZE") != "1":  # python -m benchmarks.sanitize sets it
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

    def build_extension(self, ext: Extension) -> None:
        """Compile and link one library."""
        if ext.py_limited_api:
            super().build_extension(ext)
            return
        sets = {"baseline": [], **(X86 if platform.machine() in {"x86_64", "AMD64"} else {})}
        jobs = [(source, isa, flags) for source in ext.sources for isa, flags in sets.items()]

        def compiled(job: tuple[str, str, list[str]]) -> list[str]:
            source, isa, flags = job
            return self.compiler.compile(
                [source],
                output_dir=str(Path(self.build_temp, isa)),
                macros=[("ATTNZOO_ISA", isa)],
                extra_postargs=[*FLAGS, *flags, *SANITIZERS],
                depends=ext.depends,
            )

        with ThreadPoolExecutor() as pool:
            objects = [name for names in pool.map(compiled, jobs) for name in names]
        self.compiler.link_shared_object(
            objects, self.get_ext_fullpath(ext.name), extra_postargs=["-fopenmp", *SANITIZERS], target_lang="c++"
        )


setup(
    ext_modules=[
        Extension(
            "attnzoo.kernels.cpu.libattnzoo",
            sources=sorted(map(str, KERNELS.glob("*.cpp"))),
            depends=sorted(map(str, KERNELS.glob("*.h"))),
            language="c++",
            optional=True,
        ),
        Extension(
            "attnzoo.ops.eager_calls",
            sources=sorted(map(str, Path("attnzoo/ops").glob("*.cpp"))),
            depends=[*sorted(map(str, Path("attnzoo/ops").glob("*.h"))), *sorted(map(str, KERNELS.glob("*_record.h")))],
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
