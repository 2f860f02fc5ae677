"""Files made wrong: at random, and along their own structure, which random bytes seldom reach."""

from __future__ import annotations

import json
import pickle
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 10**6, -(2**40), 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "AU1", "../../up", "/absolute", "nul\0", "\ud800", "ü" * 300, "9" * 5000, "tra-net", "dict", "tensor"),
    *([], {}, [[]], [None], {"": {}}, ["tensor", "0"], ["dict", 3], [1, 2], ["list"], {"files": {}}, [["a", "b"]]),
)
_NUMBERS = (b"-1", b"0", b"1e999", b"nan", b"9" * 5000, b"99999999999999999999", b"1.5", b"0x10", "٣".encode(), b"")
_TOKENS = (b"\0", b"\xff\xfe", b"\r", b"\n\n", b",", b";", b'"', b" ", b"{", b"}", b"\xef\xbb\xbf", b"A" * 140_000)


def mutated(content: bytes, suffix: str, random: Random) -> bytes:
    """Return the content of a file with something wrong in it, by the kind that its suffix says."""
    ways: list[Callable[[bytes, Random], bytes]] = [_flipped, _cut, _spliced, _foreign]
    if suffix in {".json", ".jsonl"}:
        ways += [_other_lines, *[_other_json] * 6]
    elif suffix in {".txt", ".csv", ".pts"}:
        ways += [_other_lines, _other_numbers, _other_numbers, _other_tokens]
    elif suffix == ".safetensors":
        ways += [*[_other_header] * 6, _huge_header]
    for _ in range(random.choice((1, 1, 2, 3))):
        content = random.choice(ways)(content, random)
    return content


def _flipped(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    reach = random.choice((64, 512, len(content)))
    for _ in range(random.choice((1, 3, 20))):
        if changed:
            changed[random.randrange(min(reach, len(changed)))] = random.choice((0, 1, 127, 255, random.randrange(256)))
    return bytes(changed)


def _cut(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] if random.random() < 0.7 else content[:start] + content[start + random.randrange(1, 64) :]


def _spliced(content: bytes, random: Random) -> bytes:
    place = random.randrange(len(content) + 1)
    source = random.randrange(len(content) + 1)
    piece = random.choice((random.randbytes(random.randrange(64)), content[source : source + 256], b"\xff" * 8))
    return content[:place] + piece + content[place:]


def _foreign(content: bytes, random: Random) -> bytes:
    return random.choice(
        (
            b"",
            random.randbytes(random.randrange(1, 400)),
            pickle.dumps({"a": [1, print]}),
            zlib.compress(bytes(10**6)),
            b"\x89PNG\r\n\x1a\n" + bytes(40),
            struct.pack("<Q", 2**63) + b"{}",
            struct.pack("<Q", 2) + b"{}",
            b"PK\x03\x04" + bytes(30),
            b"[" * 100_000,
            b'{"a":' * 50_000,
        )
    )


def _other_lines(content: bytes, random: Random) -> bytes:
    lines = content.split(b"\n")
    place = random.randrange(len(lines))
    other = random.choice(lines)
    lines[place : place + random.choice((0, 1))] = random.choice(([], [other], [other] * 2, [other[: len(other) // 2]]))
    return b"\n".join(lines)


def _other_numbers(content: bytes, random: Random) -> bytes:
    words = content.split(b" " if b"," not in content else b",")
    words[random.randrange(len(words))] = random.choice(_NUMBERS)
    return (b" " if b"," not in content else b",").join(words)


def _other_tokens(content: bytes, random: Random) -> bytes:
    place = random.randrange(len(content) + 1)
    return content[:place] + random.choice(_TOKENS) + content[place + random.randrange(2) :]


def _other_json(content: bytes, random: Random) -> bytes:
    """Change a value somewhere inside, in one line if the whole is none."""
    try:
        return _dumped(_changed(json.loads(content), random))
    except (ValueError, RecursionError):
        pass
    lines = content.split(b"\n")
    place = random.randrange(len(lines))
    try:
        lines[place] = _dumped(_changed(json.loads(lines[place]), random))
    except (ValueError, RecursionError):
        return _flipped(content, random)
    return b"\n".join(lines)


def _other_header(content: bytes, random: Random) -> bytes:
    """Change a value in the header of safetensors, often in the JSON within its texts, and correct the length."""
    if len(content) < 8:
        return content
    (length,) = struct.unpack("<Q", content[:8])
    try:
        header = json.loads(content[8 : 8 + length])
        texts = header.get("__metadata__", {})
        if texts and random.random() < 0.7:
            key = random.choice(sorted(texts))
            texts[key] = _dumped(_changed(json.loads(texts[key]), random)).decode()
        else:
            header = _changed(header, random)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return _flipped(content, random)
    packed = _dumped(header)
    return struct.pack("<Q", len(packed)) + packed + content[8 + length :]


def _huge_header(content: bytes, random: Random) -> bytes:
    return struct.pack("<Q", random.choice((2**64 - 1, 2**40, 10**8, len(content), 0))) + content[8:]


def _changed(value: Any, random: Random) -> Any:
    """Return JSON with one value replaced, removed or doubled, somewhere."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        kind = random.random()
        if kind < 0.1:
            return {name: each for name, each in value.items() if name != key}
        if kind < 0.2:
            return {**value, str(random.choice(ODD_VALUES)): value[key]}
        return {**value, key: _changed(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        place = random.randrange(len(value))
        change: Sequence[Any] = random.choice(([], [value[place]] * 2, [_changed(value[place], random)]))
        return [*value[:place], *change, *value[place + 1 :]]
    return random.choice(ODD_VALUES)


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()
