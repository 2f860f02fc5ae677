"""Reads one numeric matrix from a MATLAB file of version 5 (MATLAB 5 to 7.2, and later ``save -v7``).

scipy's reader (1.17) is not used because it crashes with a segmentation fault on damaged files. Here every length is
checked before it is used; cells, structures, objects and functions are not decoded; and compressed data is unpacked up
to a limit.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 65_536

_HEADER = 128
_ORDERS = MappingProxyType({b"IM": "<", b"MI": ">"})
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC_CLASSES = range(6, 16)  # double, single, and integers of 8 to 64 bits
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


def is_matlab(content: bytes) -> bool:
    """Return whether the content has the header of a MATLAB file of version 5."""
    return content[_HEADER - 2 : _HEADER] in _ORDERS


def parse_matrix(content: bytes, name: str) -> NDArray[np.float64]:
    """Return a real numeric matrix by the name of its variable.

    Args:
        content: Content of the file; compressed variables may unpack to at most 64 KiB.
        name: Name of the variable.

    Returns:
        The matrix (rows, columns), float64.

    Raises:
        ValueError: If there is no such variable, or the file is damaged or of another version.
    """
    order = _ORDERS.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise ValueError("it is no MATLAB file of version 5: save it with -v6 or -v7, or as text")
    try:
        for kind, body in _elements(content[_HEADER:], order):
            matrix = _named_matrix(kind, body, order, name)
            if matrix is not None:
                return matrix
    except (struct.error, zlib.error) as error:
        raise ValueError(f"it is damaged: {error}") from error
    raise ValueError(f"it has no variable {name!r} that is a real matrix of numbers")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each data element."""
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start, step = place + 8, 8 + size + (0 if kind == _COMPRESSED else -size % 8)
        if kind >> 16:  # a small element: up to four bytes of content inside the tag
            kind, size = kind & 0xFFFF, kind >> 16
            start, step = place + 4, 8
            if size > 4:
                raise ValueError(f"a small element claims {size} bytes")
        if start + size > len(data):
            raise ValueError(f"an element of {size:,} bytes is cut off")
        yield kind, data[start : start + size]
        place += step


def _named_matrix(kind: int, body: bytes, order: str, name: str) -> NDArray[np.float64] | None:
    if kind == _COMPRESSED:
        unpacker = zlib.decompressobj()
        body = unpacker.decompress(body, MAX_BYTES)
        if unpacker.unconsumed_tail:
            raise ValueError(f"a variable is larger than the {MAX_BYTES:,} bytes that are unpacked")
        kind, body = next(_elements(body, order), (0, b""))
    if kind != _MATRIX:
        return None
    parts = _elements(body, order)
    flags, dimensions, matrix_name = (next(parts, (0, b""))[1] for _ in range(3))
    if matrix_name != name.encode() or not flags:
        return None
    (word,) = struct.unpack_from(f"{order}I", flags)
    is_complex = bool(word & 0x800)
    if (word & 0xFF) not in _NUMERIC_CLASSES or is_complex or len(dimensions) != 8:
        return None
    rows, columns = struct.unpack(f"{order}ii", dimensions)
    stored, numbers = next(parts, (0, b""))
    if stored not in _TYPES:
        return None
    values = np.frombuffer(numbers, dtype=f"{order}{_TYPES[stored]}")
    if rows < 0 or columns < 0 or len(values) != rows * columns:
        raise ValueError(f"{rows} x {columns} numbers are announced and {len(values)} are there")
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64).reshape(rows, columns, order="F")
