"""Our own complete clip format: one npz with every field of a `Clip`, and nothing pickled."""

import json
from pathlib import Path
from typing import Any, Literal, Required

import numpy as np
from typing_extensions import TypedDict

from pisa_kit.clips.annotations import check_points
from pisa_kit.clips.archives import label
from pisa_kit.clips.clip import Camera, Clip
from pisa_kit.core.checks import Array, Finite, Fps, PlainName, Positive, Text, check
from pisa_kit.core.errors import InputError, about
from pisa_kit.core.storage import parse_json, parsed, read_npz, write_npz

FORMAT = "pisa_kit clip 1"
_ARRAYS = ("depth", "flow", "poses", "velocities", "contacts")
_REMEDY = "Write it again with pisa_kit.clips.formats.write_clip."


class StoredCamera(TypedDict):
    """See `clip.Camera`."""

    focal: Positive
    height: Finite
    center: tuple[Finite, Finite]


class Facts(TypedDict):
    """What is not an array; the name may become that of a file, so it is held to what files may be called."""

    format: Literal[FORMAT]
    fps: Fps
    caption: Text
    name: PlainName
    camera: StoredCamera | None
    info: dict[str, Any]


class Arrays(TypedDict, total=False):
    """The arrays of a clip's file; masks are packed to bits."""

    facts: Required[Array]
    frames: Required[Array]
    mask_bits: Array
    mask_shape: Array
    depth: Array
    flow: Array
    poses: Array
    velocities: Array
    contacts: Array


def write_clip_file(clip: Clip, path) -> None:
    """Writes every field of `clip` to an `.npz` file.

    Raises:
        InputError: wrong suffix, `path` is a folder, or `clip.info` holds what JSON cannot.
    """
    path = Path(path)
    if path.suffix != ".npz" or path.is_dir():
        raise InputError(path, "path", "is not the name of an .npz file", "Give a file name that ends in .npz.")
    arrays = {name: getattr(clip, name) for name in _ARRAYS if getattr(clip, name) is not None}
    if clip.masks is not None:
        arrays["mask_bits"] = np.packbits(clip.masks)
        arrays["mask_shape"] = np.array(clip.masks.shape)
    write_npz(path, facts=np.frombuffer(_facts(clip, path), np.uint8), frames=clip.frames, **arrays)


def _facts(clip: Clip, path) -> bytes:
    """What is not an array, as JSON."""
    camera = clip.camera
    facts = {
        "format": FORMAT,
        "fps": float(clip.fps),
        "caption": clip.caption,
        "name": clip.name,
        "camera": camera and {"focal": camera.focal, "height": camera.height, "center": list(camera.center)},
        "info": clip.info,
    }
    return encode_json(facts, path, "info")


def encode_json(data, path, field: str) -> bytes:
    """`data` as JSON; InputError (file `path`, `field`) if it holds what JSON cannot."""
    with parsed(path, field, "cannot be written as JSON", "Use str, int, float, list and dict."):
        return json.dumps(data, allow_nan=False, ensure_ascii=False).encode()


def read_clip_file(path) -> Clip:
    """Reads what `write_clip_file` wrote.

    Args:
        path: the file, or an open binary file with a `name`.

    Raises:
        InputError: missing, truncated, corrupt, pickled, or an npz of another kind.
    """
    name = label(path)
    arrays = check(Arrays, read_npz(path), name, remedy="Name a clip written by pisa_kit.")
    facts = check(Facts, parse_json(arrays["facts"].tobytes(), name, "facts"), name, "facts", _REMEDY)
    camera = facts["camera"] and Camera(**facts["camera"])
    known = {field: facts[field] for field in ("fps", "caption", "name", "info")}
    if "points" in facts["info"]:
        check_points(facts["info"]["points"], name)
    arrays = {field: arrays.get(field) for field in ("frames", *_ARRAYS)} | {"masks": _read_masks(arrays, name)}
    with about(name):
        return Clip(**arrays, **known, camera=camera)


def _read_masks(arrays: dict[str, np.ndarray], name: str) -> np.ndarray | None:
    if "mask_bits" not in arrays:
        return None
    bits, shape = arrays["mask_bits"], arrays.get("mask_shape")
    fits = shape is not None and shape.shape == (4,) and shape.dtype.kind in "iu" and bits.dtype == np.uint8
    if not fits or shape.min() < 1 or bits.size != -(-int(shape.prod()) // 8):
        raise InputError(name, "mask_shape", "does not fit the packed masks", _REMEDY)
    return np.unpackbits(bits, count=int(shape.prod())).view(bool).reshape(shape)
