"""Training clips as latents: encoded once, a file per part of a corpus, read from disk where they are indexed.

However many clips there are, memory holds one part while they are encoded and one batch while they are trained on.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from safetensors.numpy import save_file
from typing_extensions import TypedDict

from pisa_kit.core.checks import Count, check
from pisa_kit.core.devices import device
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import atomic_path, open_tensors, read_json, write_json
from pisa_kit.models.conditioning import condition, encode
from pisa_kit.perception.tensors import to_video

INDEX = "index.json"  # written last: how many clips each file holds, and how long the longest prompt is
NAMES = ("latents", "text", "below")


class Index(TypedDict):
    """What `INDEX` holds."""

    clips: list[Count]
    longest: Count


class Stored:
    """An array in slices of several files, along its first axis. Indexing that axis reads those rows and no others.

    Args:
        folder: of `cache_latents`.
        name: in `NAMES`.
        counts: rows of each file.
        longest: length of the second axis of "text", which is shorter in some files and filled up with zeros.
    """

    def __init__(self, folder: Path, name: str, counts: list[int], longest: int):
        self.folder, self.name, self.longest = folder, name, longest
        self.ends = np.cumsum(counts)
        self.shape = (len(self), *self[:1].shape[1:])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows) -> np.ndarray:
        """The rows that a slice or an array of numbers names, in that order."""
        rows = np.arange(len(self))[rows]
        if not len(rows):
            return self[:1][:0]
        found, files = [None] * len(rows), np.searchsorted(self.ends, rows, side="right")
        for number in np.unique(files):
            path, before = _part(self.folder, number), self.ends[number - 1] if number else 0
            with _open(path) as file:
                part = file.get_slice(self.name)
                for place in np.flatnonzero(files == number):
                    row = int(rows[place] - before)
                    found[place] = part[row : row + 1]
        if self.name == "text":
            found = [np.pad(one, ((0, 0), (0, self.longest - one.shape[1]), (0, 0))) for one in found]
        return np.concatenate(found)


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.safetensors"


def _open(path: Path):
    return open_tensors(path, "Delete its folder: it is made again.", "latents", "np")


def cache_latents(
    pipeline: DiffusionPipeline | None, parts: Iterable, captions: list[str], folder, batch: int = 8
) -> dict[str, Stored]:
    """Encodes training clips once; what is there is used again, and an interrupted call is continued.

    Args:
        parts: pairs of videos (N, T, H, W, 3) uint8 and masks (N, T, H, W) bool of the dropped object, of which the
            first frame's count; each becomes a file.
        captions: prompts of all clips.
        folder: where to; name it after the autoencoder and the clips, it is not checked against them.
        batch: clips at once.

    Returns:
        "latents" (N, C, t, h, w) float16, normalised; "text" (N, L, D) float32, as long as the longest prompt; "below"
        (N, h, w) bool, see `places_below`.
    """
    folder = Path(folder)
    if not (folder / INDEX).exists():
        counts, longest = [], 0
        with Bar(total=len(captions), desc="encoding", unit="clip") as bar:
            for number, (videos, masks) in enumerate(parts):
                path, first = _part(folder, number), sum(counts)
                if not path.exists():
                    _write_part(path, pipeline, videos, masks, captions[first : first + len(videos)], batch, bar)
                with _open(path) as file:
                    longest = max(longest, file.get_slice("text").get_shape()[1])
                counts.append(len(videos))
                bar.update(sum(counts) - bar.n)
        write_json(folder / INDEX, {"clips": counts, "longest": longest})
    return read_latents(folder)


def read_latents(folder) -> dict[str, Stored]:
    """What `cache_latents` returned; InputError unless it had finished."""
    folder = Path(folder)
    index = check(Index, read_json(folder / INDEX), folder / INDEX, remedy="Delete its folder: it is made again.")
    return {name: Stored(folder, name, index["clips"], index["longest"]) for name in NAMES}


def _write_part(path: Path, pipeline: DiffusionPipeline, videos, masks, captions: list[str], batch: int, bar: Bar):
    latents, text = [], []
    for start in range(0, len(videos), batch):
        frames = to_video(np.asarray(videos[start : start + batch])).to(device())
        with torch.no_grad():
            latents.append(encode(pipeline.vae, frames).cpu().numpy().astype(np.float16))
        text.append(condition(pipeline, frames[:, :, 0], captions[start : start + batch]).text.cpu().numpy())
        bar.update(len(frames))
    latents, text = np.concatenate(latents), np.concatenate(text)
    longest = int(text.any((0, 2)).nonzero()[0].max()) + 1  # real prompts are padded to 512 tokens
    below = places_below(np.asarray(masks[:, 0]), *latents.shape[3:])
    arrays = {"latents": latents, "text": text[:, :longest], "below": below}
    with atomic_path(path) as temporary:  # safetensors writes an array's memory, in whatever order that lies
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)


def places_below(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Latent places (B, height, width) bool in the columns of an object, one more on both sides, and not above it.

    Args:
        masks: (B, H, W) bool, the object in the first frame.
    """
    shown = F.adaptive_max_pool2d(torch.from_numpy(masks).float()[:, None], (height, width))[:, 0]
    columns = F.max_pool1d(shown.amax(1, keepdim=True), 3, stride=1, padding=1)
    return ((columns * shown.amax(2, keepdim=True).cummax(1).values) > 0).numpy()
