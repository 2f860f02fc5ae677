"""Every kind of file and array becomes RGB with 8 bits, or one clear sentence."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reference_models.faces.images import ImageError, as_rgb, read_image

RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(tmp_path, name, image, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "fotografía mit Leerzeichen ü.png"])
def test_lossless_files_return_their_very_pixels(tmp_path, name):
    np.testing.assert_array_equal(read_image(saved(tmp_path, name, Image.fromarray(PIXELS))), PIXELS)


def test_the_content_counts_and_not_the_name(tmp_path):
    path = saved(tmp_path, "a.png", Image.fromarray(PIXELS)).rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(path), PIXELS)


def test_sixteen_bits_are_rounded_and_not_cut(tmp_path):
    levels = np.array([[0, 128, 129, 257, 65535, 40000]], dtype=np.uint16)
    path = saved(tmp_path, "a.png", Image.fromarray(levels))
    assert read_image(path)[0, :, 0].tolist() == [0, 0, 1, 1, 255, 156]
    np.testing.assert_array_equal(read_image(path), as_rgb(levels))


def test_grey_and_bilevel_files_have_three_equal_channels(tmp_path):
    grey = PIXELS[:, :, 0]
    read = read_image(saved(tmp_path, "a.png", Image.fromarray(grey)))
    np.testing.assert_array_equal(read, np.stack([grey] * 3, axis=2))
    bits = read_image(saved(tmp_path, "b.png", Image.fromarray(grey > 127)))
    np.testing.assert_array_equal(bits[:, :, 1], np.where(grey > 127, 255, 0))


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    read = read_image(saved(tmp_path, "a.png", Image.fromarray(rgba)))
    assert read[0].tolist() == [[10, 20, 30], [255, 255, 255], [204, 204, 204]]


def test_a_transparent_palette_is_laid_on_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([200, 0, 0, 0, 200, 0])
    read = read_image(saved(tmp_path, "a.png", image, transparency=1))
    assert read[0].tolist() == [[200, 0, 0], [255, 255, 255]]


def test_cmyk_jpeg_has_the_colours_of_the_rgb_one(tmp_path):
    red = Image.new("RGB", (16, 16), (200, 30, 40))
    read = read_image(saved(tmp_path, "a.jpg", red.convert("CMYK"), quality=95))
    assert np.abs(read.astype(int) - [200, 30, 40]).max() < 12


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90),
    ],
)
def test_the_exif_orientation_is_applied(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, "a.png", Image.fromarray(PIXELS), exif=exif)
    np.testing.assert_array_equal(read_image(path), upright(PIXELS))


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    path = saved(tmp_path, "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]


def test_what_is_no_image_file_is_named(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path, message in (
        (tmp_path / "absent.png", "does not exist"),
        (tmp_path, "is a folder"),
        (text, "is no image in a known format"),
        (empty, "is no image in a known format"),
        (pipe, "is no regular file"),
        (tmp_path / ("x" * 300), "cannot be read: .*[Nn]ame too long"),
    ):
        with pytest.raises(ImageError, match=message) as raised:
            read_image(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_symlink_loop_is_named(tmp_path):
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    with pytest.raises(ImageError, match=r"loop\.png"):
        read_image(loop)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path, "a.png", Image.fromarray(PIXELS))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything: let the system call say what it says to others

        def refuse(*args, **options):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match="permission denied"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "webp", "bmp"])
def test_damaged_files_are_read_or_named_and_nothing_else(tmp_path, suffix):
    pixels = RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    whole = saved(tmp_path, f"whole.{suffix}", Image.fromarray(pixels)).read_bytes()
    path = tmp_path / f"damaged.{suffix}"
    named = whole_images = 0
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 2:
            del damaged[int(RNG.integers(1, len(whole))) :]
        else:
            for place in RNG.integers(0, min(len(whole), 400), 4):
                damaged[place] = int(RNG.integers(256))
        path.write_bytes(damaged)
        try:
            read = read_image(path, max_pixels=100_000)
        except ImageError as error:
            named += str(path) in str(error)
        else:
            whole_images += read.dtype == np.uint8 and read.shape[2] == 3
    assert named > 5
    assert named + whole_images == 60


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8001, 10_000, 14_000, 30_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_that_claims(side, side))
    with pytest.raises(ImageError, match="more than the 64,000,000 that are decoded"):
        read_image(path)


def test_the_bound_is_exact(tmp_path):
    path = saved(tmp_path, "a.png", Image.fromarray(PIXELS))
    assert read_image(path, max_pixels=54).shape == (6, 9, 3)
    with pytest.raises(ImageError, match="9 x 6 pixels, more than the 53"):
        read_image(path, max_pixels=53)


def test_formats_that_run_programs_are_not_opened(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "EPS")
    path = tmp_path / "a.png"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ImageError, match="known format"):
        read_image(path)


def test_floating_files_are_refused(tmp_path):
    path = saved(tmp_path, "a.tif", Image.fromarray(np.zeros((3, 3), np.float32)))
    with pytest.raises(ImageError, match="floating numbers without a known range"):
        read_image(path)


def test_arrays_of_every_form():
    grey = PIXELS[:, :, 0]
    three = np.stack([grey] * 3, axis=2)
    np.testing.assert_array_equal(as_rgb(grey), three)
    np.testing.assert_array_equal(as_rgb(grey[:, :, None]), three)
    np.testing.assert_array_equal(as_rgb(np.dstack([grey, np.full_like(grey, 255)])), three)
    np.testing.assert_array_equal(as_rgb(PIXELS.astype(np.uint16) * 257), PIXELS)
    np.testing.assert_array_equal(as_rgb(PIXELS[:, ::-1]), PIXELS[:, ::-1])
    assert as_rgb(PIXELS[:, ::-1]).flags.c_contiguous
    assert as_rgb(PIXELS) is PIXELS


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ([[0]], TypeError, "numpy array .* got list"),
        (np.zeros((4, 4), np.float32), TypeError, "uint8, uint16 or bool, got float32"),
        (np.zeros(4, np.uint8), ValueError, r"got \(4,\)"),
        (np.zeros((4, 4, 5), np.uint8), ValueError, r"got \(4, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "at least one pixel"),
    ],
)
def test_arrays_that_are_no_image(image, error, message):
    with pytest.raises(error, match=message):
        as_rgb(image)
