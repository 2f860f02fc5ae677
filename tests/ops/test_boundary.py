"""Python's side of the kernels against C++'s: every structure field by field, every kernel argument by argument."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from ctypes import c_float, c_int, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any

import pytest

from attnzoo.kernels.cpu import library
from attnzoo.kernels.cpu.dense import launch_linear, launch_winograd
from attnzoo.kernels.cpu.gates import launch_rows
from attnzoo.kernels.cpu.igc import launch as launch_igc
from attnzoo.kernels.cpu.igc import launch_step
from attnzoo.kernels.cpu.records import Record
from attnzoo.ops.gates import gate_images

KERNELS = Path(library.__file__).parent
COMPILER = shutil.which(os.environ.get("CXX", "g++"))


def record(names: Sequence[str], packed: struct.Struct) -> Record:
    """Return the record of fields whose names stand beside a format; a pointer is one of its integers."""
    formats = "".join(int(count or 1) * letter for count, letter in re.findall(r"(\d*)(\w)", packed.format))
    return Record(**dict(zip(names, formats, strict=True)))


STRUCTURES: dict[str, Record | type[ctypes.Structure]] = {
    "AttnzooMap": library.Map,
    "AttnzooStage": launch_igc.STAGE,
    "AttnzooIgc": launch_igc.BLOCK,
    "AttnzooIgcMaps": launch_igc.MAPS,
    "AttnzooIgcStep": launch_step.Step,
    "AttnzooGateOptions": record(gate_images.Gating._fields[1:-1], gate_images.OPTIONS),
    "AttnzooHalve": launch_igc.HALVE,
    "AttnzooLinear": launch_linear.LAYER,
    "AttnzooRows": launch_rows.RowsCall,
    "AttnzooWinograd": launch_winograd.Winograd,
}
"""What each structure of C++ is in Python."""
ELSEWHERE = {"AttnzooField"}
"""What attnzoo/ops/reading.py hands over, which has arrays and tests of its own."""
SIZED = {"q": "int64_t", "i": "int32_t", "d": "double", "f": "float", "P": "pointer"}
NAMED = {c_int64: "int64_t", c_int32: "int32_t", c_void_p: "pointer", library.Map: "AttnzooMap"}
SOURCES = sorted(KERNELS.rglob("*.h")) + sorted(KERNELS.rglob("*.cpp"))

Fields = dict[str, tuple[int, str]]


def of_python(kind: Record | type[ctypes.Structure]) -> tuple[int, Fields]:
    """Return a structure's size, and the offset and the type of each field."""
    if isinstance(kind, Record):
        ends = [struct.calcsize("@" + "".join(list(kind.fields.values())[: k + 1])) for k in range(len(kind.fields))]
        placed = zip(kind.fields.items(), ends, strict=True)
        return kind.size, {name: (end - struct.calcsize(f), SIZED[f]) for (name, f), end in placed}
    fields: Any = kind._fields_
    return ctypes.sizeof(kind), {name: (getattr(kind, name).offset, NAMED[of]) for name, of in fields}


def definitions() -> dict[str, Path]:
    """Return where each structure that Python and C++ share is defined."""
    return {
        name: path
        for path in SOURCES
        for name in re.findall(r"^struct (Attnzoo\w+) \{", path.read_text(), re.MULTILINE)
    }


QUESTION = """
#include <cstddef>
#include <cstdio>
template <class T> struct Kind { static constexpr const char* name = "pointer"; };
template <> struct Kind<int64_t> { static constexpr const char* name = "int64_t"; };
template <> struct Kind<int32_t> { static constexpr const char* name = "int32_t"; };
template <> struct Kind<double> { static constexpr const char* name = "double"; };
template <> struct Kind<float> { static constexpr const char* name = "float"; };
template <> struct Kind<AttnzooMap> { static constexpr const char* name = "AttnzooMap"; };
#define SIZE(s) printf(#s " %zu\\n", sizeof(s));
#define FIELD(s, f) printf(#s "." #f " %zu %s\\n", offsetof(s, f), Kind<decltype(s::f)>::name);
"""


@pytest.fixture(scope="module")
def of_cpp(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return what a C++ program says of every structure, and of every field that Python knows."""
    if COMPILER is None:
        pytest.skip("there is no C++ compiler")
    folder = tmp_path_factory.mktemp("boundary")
    lines = [f'#include "{KERNELS / "kernel.h"}"', QUESTION]
    for name, path in definitions().items():
        if path.suffix == ".h":
            lines.insert(1, f'#include "{path}"')
        elif name in STRUCTURES:
            (body,) = re.findall(rf"^struct {name} \{{.*?^\}};", path.read_text(), re.MULTILINE | re.DOTALL)
            lines.append(body)
    asked = [f"SIZE({name})" for name in STRUCTURES]
    asked += [f"FIELD({name}, {field})" for name, kind in STRUCTURES.items() for field in of_python(kind)[1]]
    source, program = folder / "question.cpp", folder / "question"
    source.write_text("\n".join([*lines, "int main() {", *asked, "}"]))
    command = [COMPILER, "-std=gnu++17", "-fopenmp", "-DATTNZOO_ISA=baseline", "-Wno-invalid-offsetof"]
    subprocess.run([*command, str(source), "-o", str(program)], check=True)
    said = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return {line.split()[0]: line.split()[1:] for line in said.splitlines()}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structures_are_the_same_on_both_sides(name: str, of_cpp: dict[str, list[str]]):
    """Size and offsets leave no room for a field that Python does not know."""
    size, fields = of_python(STRUCTURES[name])
    assert of_cpp[name] == [str(size)]
    found = {field: of_cpp[f"{name}.{field}"] for field in fields}
    assert found == {field: [str(offset), kind] for field, (offset, kind) in fields.items()}


def test_every_shared_structure_is_compared():
    assert set(definitions()) == set(STRUCTURES) | ELSEWHERE


def test_kernels_take_what_python_hands_them():
    """Every kernel that is exported, and its arguments' types."""
    exported = {}
    for path in SOURCES:
        for name, arguments in re.findall(r"^ATTNZOO_EXPORT\((\w+)\)\(([^)]*)\) \{", path.read_text(), re.MULTILINE):
            exported[name] = [argument_type(argument) for argument in arguments.split(",")]
    known = {name: [c_void_p if t is library._MAP else t for t in ts] for name, ts in library._SIGNATURES.items()}
    assert exported == known


def argument_type(argument: str) -> type:
    if "*" in argument:
        return c_void_p
    return {"int64_t": c_int64, "int": c_int, "float": c_float}[argument.split(maxsplit=1)[0]]


def test_a_record_packs_as_c_aligns():
    record = Record(first="i", second="q", third="f")
    assert record.size == 24
    assert record.pack(1, 2, 0.5) == struct.pack("=i4xqf4x", 1, 2, 0.5)
