"""Reads single frames of videos."""

from __future__ import annotations

from pathlib import Path

from reference_models.extras import load
from reference_models.faces.images import MAX_PIXELS, ImageError, RGBImage, as_rgb

SUFFIXES = frozenset({".avi", ".mp4"})


def read_video_frame(path: Path, frame: int) -> RGBImage:
    """Return a frame of a video.

    Seeking takes far longer than reading a picture: extract the frames once if you train on them.

    Args:
        path: The video, in a format that OpenCV reads.
        frame: Number of the frame, counted from 1.

    Returns:
        Pixels (H, W, 3), uint8.

    Raises:
        ImageError: If there is no such file or frame, or the frame cannot be decoded or is too large.
        MissingExtraError: If OpenCV is not installed.
    """
    cv2 = load("cv2", package="opencv-python-headless", extra="faces")
    if not path.is_file():
        raise ImageError(f"{path} does not exist")
    video = cv2.VideoCapture(str(path))
    try:
        width, height, count = (
            int(video.get(what))
            for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_COUNT)
        )
        if not video.isOpened() or count < 1:
            raise ImageError(f"{path} is no video that can be read")
        if width * height > MAX_PIXELS:
            raise ImageError(f"{path} has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are decoded")
        if not 1 <= frame <= count:
            raise ImageError(f"{path} has frames 1 to {count}, not {frame}")
        video.set(cv2.CAP_PROP_POS_FRAMES, frame - 1)
        good, pixels = video.read()
    finally:
        video.release()
    if not good:
        raise ImageError(f"{path}: frame {frame} cannot be decoded")
    return as_rgb(pixels[:, :, ::-1])
