"""Builds the CPU kernels: one plain shared library, each source compiled once for each instruction set.

They are optional: where no compiler is found, or one without OpenMP, installation succeeds and attnzoo computes with
torch alone (``attnzoo.ops.backends()`` says so). Everything else about the package is in pyproject.toml.
"""

from __future__ import annotations

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = Path("attnzoo/kernels/cpu")
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
        """Return the library's file name, which carries no tag of the Python version: any may load it."""
        return str(Path(*fullname.split(".")).with_suffix(".so"))

    def build_extension(self, ext: Extension) -> None:
        """Compile and link one library."""
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
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
