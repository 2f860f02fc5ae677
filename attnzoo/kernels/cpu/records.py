"""What kernels are told, as the bytes of a structure of C.

To fill a structure of ctypes takes longer than some kernels take for a small map; packing takes a third of that. A test
compares every record and every structure with its counterpart in C++.
"""

from __future__ import annotations

import struct


class Record:
    """A structure of C: ``pack`` makes its bytes of one value for each field, in order; pointers are integers.

    Args:
        fields: The format of each field by its name, as ``struct`` has it: "P" a pointer, "q" and "i" an integer of
            eight and of four bytes, "d" and "f" a number of eight and of four.
    """

    def __init__(self, **fields: str) -> None:
        self.fields = fields
        packer = struct.Struct(f"@{''.join(fields.values())}0q")  # C's alignment, and its padding behind the last field
        self.size, self.pack, self.unpack = packer.size, packer.pack, packer.unpack
