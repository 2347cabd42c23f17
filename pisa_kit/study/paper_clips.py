"""Training on the paper's own clips (psft.zip, oro.zip, or folders in their layouts), alone or mixed with our drops."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import Location, find_clips, read_clip
from pisa_kit.clips.resize import resample, to_square
from pisa_kit.core import artefacts
from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError, about
from pisa_kit.core.progress import Bar
from pisa_kit.core.storage import write_npz
from pisa_kit.sim.corpora import SHARD, read_corpus
from pisa_kit.sim.settings import Video

PROMPT = "a video of an object dropping"  # of every training clip of the paper; it is not varied


def stage_of(source) -> str:
    """What a folder or zip of training clips is for: "oro" if they have masks, else "psft"."""
    return "psft" if read_clip(find_clips(source)[0]).masks is None else "oro"


def write_mixed(
    folder, ours: Path | None, source, share: float, count: int, video: Video, seed: int, masks: bool
) -> Path:
    """Writes a corpus (`corpora.read_corpus`) of `count` clips, a share of them the source's; finished files are kept.

    The two kinds are shuffled, so that the first clips of it are mixed alike.

    Args:
        folder: of the corpus.
        ours: folder of a corpus that gives the rest; None if the share is 1.
        source: folder or zip of clips in the layouts psft or oro; the dropped object's mask is the last.
        share: of the source's clips, above 0, at most 1.
        video: size, length and frame rate that they are brought to.
        seed: of the order.
        masks: are needed.

    Raises:
        InputError: too few clips in the source, clips that are too short, or without masks where they are needed.
    """
    theirs, folder = theirs_of(count, share), Path(folder)
    paths = [folder / f"{start // SHARD:04d}.npz" for start in range(0, count, SHARD)]
    if all(path.exists() for path in paths):
        return folder
    located = find_clips(source)
    if len(located) < theirs:
        problem = f"holds {len(located)} clips, {theirs} are asked for"
        raise InputError(source, "clips", problem, "Lower psft.clips, oro.clips or data.share.")
    rest = read_corpus(ours) if ours else ((), (), ())
    order = np.random.default_rng([seed, 6]).permutation(count)
    for number, path in enumerate(Bar(paths, desc=f"reading {Path(source).name}", unit="file")):
        if not path.exists():
            chosen = order[number * SHARD :][:SHARD]
            clips = [
                _shaped(located[i], video, masks) if i < theirs else [part[i - theirs] for part in rest] for i in chosen
            ]
            frames, shapes, captions = zip(*clips, strict=True)
            coded = np.frombuffer("\n".join(captions).encode(), np.uint8)
            write_npz(path, frames=np.stack(frames), masks=np.packbits(np.stack(shapes), axis=-1), captions=coded)
    return folder


def theirs_of(count: int, share: float) -> int:
    """How many of `count` clips are the source's."""
    check(Annotated[float, Field(gt=0, le=1)], share, "settings", "data.share")
    return max(round(count * share), 1)


def source_key(source, share: float, video: Video, ours: Path | None) -> str:
    """Changes with the names and sizes of the source's files, the share, the videos' shape and our half's name."""
    path = Path(source)
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    facts = [(str(each.relative_to(path)), each.stat().st_size) for each in files]
    return artefacts.key("mixed", facts, share, video, ours and ours.name)


def _shaped(location: Location, video: Video, needed: bool) -> tuple[np.ndarray, np.ndarray, str]:
    """Frames, the dropped object's masks (empty where a clip has none and they are not needed) and the prompt."""
    clip: Clip = resample(to_square(read_clip(location), video.size), video.fps, video.frames)
    with about(location):
        shapes = clip.dropped if needed or clip.masks is not None else np.zeros(clip.frames.shape[:3], bool)
    return clip.frames, shapes, PROMPT
