"""What is annotated on a clip: mask files and the points of real clips (PISA, released data)."""

import io
from pathlib import Path
from typing import Annotated, Required

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict

from pisa_kit.clips.archives import label
from pisa_kit.core.checks import Pixel, check
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import DAMAGED, parsed, read_bytes, read_npz

Point = tuple[Pixel, Pixel]


class Annotation(TypedDict, total=False):
    """What is annotated of one object in frame 0: points (x, y) on it, and others that are not, pixels."""

    positive: Required[Annotated[list[Point], Field(min_length=1)]]
    negative: list[Point]


Points = Annotated[list[Annotation], Field(min_length=1)]  # of a real clip's `clip_info.json`, an entry per object


def read_masks(path) -> np.ndarray:
    """Masks from a `.npz` (array `mask`) or a `.npy` file as (T, N, H, W) bool.

    A file with one object may leave out the object axis, (T, H, W), as the released mask script writes it.

    Args:
        path: the file, or an open binary file with a `name`.

    Raises:
        InputError: not such a file, damaged or pickled, wrong number of axes, or values other than 0 and 1.
    """
    name = label(path)
    if name.endswith(".npz"):
        masks = read_npz(str(path) if isinstance(path, Path) else path, "mask")["mask"]
    elif name.endswith(".npy"):
        with parsed(name, "mask", *DAMAGED):
            file = path if hasattr(path, "read") else io.BytesIO(read_bytes(path))
            masks = np.lib.format.read_array(file, allow_pickle=False)
    else:
        raise InputError(name, "mask", "is neither .npz nor .npy", "Write it with numpy.savez_compressed(mask=...).")
    if masks.ndim == 3:
        masks = masks[:, None]
    if masks.ndim != 4 or 0 in masks.shape or masks.dtype.kind not in "biuf":
        remedy = "Give (frames, objects, height, width), bool or 0 and 1."
        raise InputError(name, "mask", f"has shape {masks.shape} and dtype {masks.dtype}", remedy)
    return _as_bool(masks, name)


def _as_bool(masks: np.ndarray, name: str) -> np.ndarray:
    if masks.dtype == bool:
        return masks
    result = masks == 1
    if not (result | (masks == 0)).all():
        values = np.unique(masks)
        shown = f"{values[0]:g} and {values[-1]:g}" if len(values) == 2 else f"from {values[0]:g} to {values[-1]:g}"
        between = "" if len(values) == 2 else f" ({len(values)} different ones)"
        remedy = "divide by 255 or compare with > 127" if values[-1] == 255 else "write (mask > threshold)"
        raise InputError(name, "mask", f"holds values {shown}{between}; masks are 0 and 1", f"For masks {remedy}.")
    return result


def dropped_index(points: list) -> int:
    """Index of the annotated object that is dropped: the one with the smallest y among its positive points.

    Args:
        points: see `Points`.

    Raises:
        InputError: empty, or an entry without a positive point.
    """
    check_points(points, "clip_info.json")
    return int(np.argmin([min(y for _, y in entry["positive"]) for entry in points]))


def check_points(points, file) -> None:
    """InputError unless `points` is a non-empty annotation with a positive point for every object."""
    check(Points, points, file, "points", 'Give one {"positive": [[x, y], ...], "negative": []} per object.')
