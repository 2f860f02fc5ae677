"""Pack the arguments of a kernel into the bytes of a C struct.

Filling a ctypes structure takes longer than some kernels on a small map; packing takes a third of that. A test compares
each record and each ctypes structure with its struct in C++.
"""

from __future__ import annotations

import struct


class Record:
    """A C struct: ``pack`` takes one value per field, in order, and returns the bytes; pointers are integers.

    Args:
        fields: Field name to format, as in the module ``struct``: "P" a pointer, "q" and "i" an integer of eight and
            four bytes, "d" and "f" a float of eight and four bytes.
    """

    def __init__(self, **fields: str) -> None:
        self.fields = fields
        packer = struct.Struct(f"@{''.join(fields.values())}0q")  # C's alignment, also behind the last field
        self.size, self.pack, self.unpack = packer.size, packer.pack, packer.unpack
