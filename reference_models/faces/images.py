"""Reads image files and arrays of any kind as RGB arrays (H, W, 3), uint8, with clear errors for the others."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 64_000_000
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# Pillow's decoders have no common exception for damaged files; they raise any of these.
_DAMAGE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, struct.error, zlib.error),
)
_PLAIN_MODES = ("L", "LA", "RGB", "RGBA")

RGBImage = NDArray[np.uint8]
"""Pixels (H, W, 3), red, green, blue, 0 to 255."""


class ImageError(ValueError):
    """An image that cannot be read; the message is one sentence that names the path."""


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> RGBImage:
    """Read a photograph.

    The orientation in the EXIF data is applied; grey, palette, CMYK and 16-bit images are converted to RGB with 8 bits;
    transparent pixels are blended with white. The first frame of an animation is read. The size is checked before
    decoding, so that a decompression bomb does no harm.

    Args:
        path: A file in one of :data:`FORMATS`, recognised by its content and not by its name.
        max_pixels: Largest number of pixels (width times height) that is decoded.

    Returns:
        Pixels (H, W, 3), uint8.

    Raises:
        ImageError: If there is no such file, it is not an image, damaged or too large, or reading is not permitted.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder, not an image")
        if not path.exists():
            raise ImageError(f"{path} does not exist")
        if not path.is_file():
            raise ImageError(f"{path} is no regular file")
        with path.open("rb") as file:
            return _decoded(file, str(path), max_pixels)
    except PermissionError as error:
        raise ImageError(f"{path} may not be read: permission denied") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error


def decode_image(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> RGBImage:
    """Decode the content of an image file, as :func:`read_image` does.

    Args:
        data: Content of the file.
        name: Name of the image in messages.
        max_pixels: Largest number of pixels (width times height) that is decoded.

    Returns:
        Pixels (H, W, 3), uint8.

    Raises:
        ImageError: If it is not an image, damaged or too large.
    """
    if not data:
        raise ImageError(f"{name} is empty")
    return _decoded(io.BytesIO(data), name, max_pixels)


def as_rgb(image: Any) -> RGBImage:
    """Return an array of pixels as RGB with 8 bits per channel.

    Args:
        image: Grey (H, W) or (H, W, 1), grey with alpha (H, W, 2), RGB (H, W, 3) or RGBA (H, W, 4), as uint8, uint16
            (the full range 0 to 65535) or bool.

    Returns:
        Pixels (H, W, 3), uint8, contiguous; ``image`` itself if it has this form.

    Raises:
        TypeError: If ``image`` is not an array or has another dtype.
        ValueError: If it has another shape, or no pixels.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"image must be a numpy array (H, W[, C]), got {type(image).__name__}")
    if image.ndim not in {2, 3} or (image.ndim == 3 and image.shape[2] not in {1, 2, 3, 4}) or image.size == 0:
        raise ValueError(f"image must have shape (H, W) or (H, W, 1 to 4) and at least one pixel, got {image.shape}")
    if image.dtype == np.bool_:
        pixels = image.astype(np.uint8) * 255
    elif image.dtype == np.uint16:
        pixels = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif image.dtype == np.uint8:
        pixels = image
    else:
        raise TypeError(f"image must be uint8, uint16 or bool, got {image.dtype}")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] in {2, 4}:
        pixels = _on_white(pixels)
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    return np.ascontiguousarray(pixels)


def _decoded(file: IO[bytes], name: str, max_pixels: int) -> RGBImage:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Pillow warns of unusual metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise _too_large(name, f"{width} x {height} pixels", max_pixels)
                return as_rgb(_plain(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, "very many pixels", max_pixels) from error
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is no image in a known format ({', '.join(FORMATS)})") from error
    except _DAMAGE as error:
        raise ImageError(
            f"{name} cannot be decoded: {str(error).splitlines()[0] if str(error) else 'it is damaged'}"
        ) from error


def _plain(image: Image.Image) -> NDArray[Any]:
    """Return the pixels of the image, rotated by its EXIF orientation, in a form that ``as_rgb`` accepts."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("its grey levels are wider than 16 bits")
        return levels.astype(np.uint16)
    if image.mode == "F":
        raise ValueError("its pixels are floating numbers without a known range")
    if image.mode not in _PLAIN_MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return np.asarray(image)


def _on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    alpha = pixels[:, :, -1:].astype(np.uint16)
    return ((pixels[:, :, :-1] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _too_large(name: str, size: str, max_pixels: int) -> ImageError:
    return ImageError(f"{name} has {size}, more than the {max_pixels:,} that are decoded")
