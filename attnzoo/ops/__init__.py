"""The operations that the layers share."""

from attnzoo.ops.apply_gates import apply_gates

__all__ = ["apply_gates"]
