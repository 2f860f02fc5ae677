"""The heap of a process as one finds it that has done nothing yet.

What was done before decides how fast a network is where glibc's defaults hold. If small objects that live on lie above
the holes which large ones have left, maps go into those holes and their memory is there; if not, they are put at the
heap's end, which is given back to the system after each pass and taken anew in the next, a page fault for every 4 KB.
Building a network leaves such holes or does not, by chance.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import gc

SIZES = (1 << 24, 1 << 22, 1 << 20, 1 << 18, 1 << 16)
"""Bytes of the blocks that fill holes, the largest first."""
_COUNTERS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _COUNTERS)


def fill_holes() -> int:
    """Fill the holes of the heap for as long as the process lives, and give what is free at its end to the system.

    Returns:
        The bytes that were filled; 0 where the C library is not glibc 2.33 or newer.
    """
    libc = ctypes.CDLL(ctypes.util.find_library("c"))
    if not hasattr(libc, "mallinfo2"):
        return 0
    libc.mallinfo2.restype = _Mallinfo
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = (ctypes.c_size_t,)
    libc.free.argtypes = (ctypes.c_void_p,)
    gc.collect()
    libc.malloc_trim(0)
    filled = 0
    for size in SIZES:
        while True:
            before = libc.mallinfo2()
            block = libc.malloc(size)
            after = libc.mallinfo2()
            if (after.arena, after.hblks, after.keepcost) != (before.arena, before.hblks, before.keepcost):
                libc.free(block)  # it is no hole that was filled, but the heap's end or memory of its own
                break
            filled += size
    libc.malloc_trim(0)
    return filled
