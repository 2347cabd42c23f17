"""Moving pictures from arrays, as WebP."""

import io
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pisa_kit.viz.figures import colour


def movie(frames: np.ndarray, fps: float, width: int = 320) -> bytes:
    """Frames (T, H, W, 3) uint8 as an endlessly playing WebP, enlarged to about `width` pixels."""
    scale = max(1, round(width / frames.shape[2]))
    return _webp(frames.repeat(scale, 1).repeat(scale, 2), [round(1000 / fps)] * len(frames))


def _webp(frames: np.ndarray, milliseconds: list[int]) -> bytes:
    """A tenth of a GIF's size."""
    shown, *others = map(Image.fromarray, frames)
    buffer = io.BytesIO()
    options = {"duration": milliseconds, "loop": 0, "quality": 85, "method": 4}
    shown.save(buffer, "webp", save_all=True, append_images=others, **options)
    return buffer.getvalue()


def moving_gallery(rows: dict[str, list[np.ndarray]], fps: float, scale: int = 2) -> bytes:
    """Videos side by side as an endlessly playing WebP, a row per method.

    Args:
        rows: label to videos (T, H, W, 3) uint8 of one shape, the same number in every row.
        fps: of the videos.
        scale: pixels per pixel.
    """
    tiles = np.stack([np.stack(videos) for videos in rows.values()]).repeat(scale, 3).repeat(scale, 4)
    tiles = np.pad(tiles, [(0, 0)] * 3 + [(2, 2), (2, 2), (0, 0)], constant_values=255)
    count, across, frames, height, width, _ = tiles.shape
    page = tiles.transpose(2, 0, 3, 1, 4, 5).reshape(frames, count * height, across * width, 3)
    font, texts = ImageFont.load_default(12), [textwrap.fill(label, 7, break_long_words=False) for label in rows]
    room = max(font.getlength(line) for text in texts for line in text.splitlines())
    margin = Image.new("RGB", (int(room) + 6, count * height), "white")
    draw = ImageDraw.Draw(margin)
    for row, (label, text) in enumerate(zip(rows, texts, strict=True)):
        draw.multiline_text((2, row * height + height // 2 - 6), text, fill=colour(label), font=font)
    page = np.concatenate([np.broadcast_to(np.asarray(margin), (frames, *np.asarray(margin).shape)), page], 2)
    return _webp(page, [round(1000 / fps)] * (frames - 1) + [600])  # the last frame stays for a moment
