"""What is annotated on a clip: mask files and the points of real clips (PISA, released data)."""

import io
from pathlib import Path

import numpy as np

from pisa_kit.clips.archives import label
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import damaged, read_bytes, read_npz


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
        masks = _read_npy(path, name)
    else:
        raise InputError(name, "mask", "is neither .npz nor .npy", "Write it with numpy.savez_compressed(mask=...).")
    if masks.ndim == 3:
        masks = masks[:, None]
    if masks.ndim != 4 or 0 in masks.shape:
        raise InputError(name, "mask", f"has shape {masks.shape}", "Give (frames, objects, height, width).")
    return _as_bool(masks, name)


def _read_npy(path, name: str) -> np.ndarray:
    try:
        masks = np.load(path if hasattr(path, "read") else io.BytesIO(read_bytes(path)), allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # numpy's header parser raises many kinds
        raise damaged(error, name, "mask") from error
    if not isinstance(masks, np.ndarray):
        raise InputError(name, "mask", "is an npz archive named .npy", "Rename it to .npz.")
    return masks


def _as_bool(masks: np.ndarray, name: str) -> np.ndarray:
    if masks.dtype == bool:
        return masks
    if masks.dtype.kind not in "iuf":
        raise InputError(name, "mask", f"has dtype {masks.dtype}", "Give bool, or integers 0 and 1.")
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
        points: `points` of a real clip's `clip_info.json`: per object `{"positive": [[x, y], ...], "negative": ...}`.

    Raises:
        InputError: empty, or an entry without a positive point.
    """
    check_points(points, "clip_info.json")
    return int(np.argmin([min(y for _, y in entry["positive"]) for entry in points]))


def check_points(points, file) -> None:
    """InputError unless `points` is a non-empty annotation with a positive point for every object."""
    remedy = 'Give one {"positive": [[x, y], ...], "negative": []} per object, in pixels of frame 0.'
    if not isinstance(points, list) or not points:
        raise InputError(file, "points", f"is {points!r}", remedy)
    for index, entry in enumerate(points):
        if not isinstance(entry, dict) or not entry.get("positive"):
            raise InputError(file, f"points[{index}]", "has no positive point", remedy)
        for kind in ("positive", "negative"):
            listed = entry.get(kind, [])
            if not isinstance(listed, list) or not all(map(_is_point, listed)):
                raise InputError(file, f"points[{index}].{kind}", f"is {listed!r}", remedy)


def _is_point(point) -> bool:
    return (
        isinstance(point, (list, tuple))
        and len(point) == 2
        and all(isinstance(value, (int, float)) and abs(value) < 1e6 for value in point)
    )
