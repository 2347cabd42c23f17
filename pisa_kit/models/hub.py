"""Benchmark, training clips and weights from the Hugging Face hub: fetched, resumed and checked."""

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from pisa_kit.core.checks import PlainName, check
from pisa_kit.core.errors import InputError, check_choice, first_line
from pisa_kit.models.zoo import ZOO
from pisa_kit.perception.trackers import SAM2

PISA = "nyu-visionx/pisa-experiments"
NOT_WANTED = [f"*.{kind}" for kind in ("bin", "pt", "pth", "ckpt", "msgpack", "h5", "onnx", "fp16.safetensors")]
SPARE = 1.05  # disk space to ask for, over what the files need


@dataclass(frozen=True)
class Source:
    """Where something lies on the hub.

    Args:
        repository: owner/name.
        kind: "dataset" or "model".
        folder: what is wanted of it, as the beginning of paths; "" for everything.
        revision: branch, tag or commit.
    """

    repository: str
    kind: str = "model"
    folder: str = ""
    revision: str = "main"


SOURCES = {
    "bench": Source(PISA, "dataset", "pisabench/"),
    "psft": Source(PISA, "dataset", "training_data/psft.zip"),
    "oro": Source(PISA, "dataset", "training_data/oro.zip"),
    "checkpoints": Source(PISA, "dataset", "checkpoints/"),
    "sam2": Source(SAM2),
    "depth-anything-v2": Source("depth-anything/Depth-Anything-V2-Small-hf"),
} | {name: Source(wants.repository, revision=wants.revision) for name, wants in ZOO.items()}


def download(name: str, folder) -> list[Path]:
    """Fetches the files that are not there yet; a call after an interruption continues.

    Args:
        name: in `SOURCES`, or owner/name of any model in diffusers' format, e.g. one that `push` published.
        folder: they go to folder/<name>, those of the PISA dataset to folder/<their path>.

    Returns:
        The paths of all files.

    Raises:
        InputError: unknown name, no connection, a gated or missing repository, too little disk space, or a file whose
            checksum is not the hub's.
    """
    check(PlainName, name, "arguments", "name", "Give a name of the list, or owner/name.")
    source = Source(name) if "/" in name else SOURCES[check_choice(name, SOURCES, "name")]
    folder = Path(folder)
    if source.kind == "model":
        folder = folder / name.split("/")[-1]
    where = {"repo_id": source.repository, "repo_type": source.kind, "revision": source.revision, "local_dir": folder}
    ignored = NOT_WANTED if source.kind == "model" else None
    with _reached(source, folder):
        found = snapshot_download(**where, allow_patterns=f"{source.folder}*", ignore_patterns=ignored, dry_run=True)
        found = {one.filename: one for one in sorted(found, key=lambda one: one.filename)}
        wanted = [one for name, one in found.items() if "model_index.json" not in found or not _single(name)]
        _check_room(wanted, source, folder)
        paths = [folder / one.filename for one in wanted]
        _verify(where, paths, "Delete the file, or choose another folder.")
        if any(one.will_download for one in wanted):
            snapshot_download(**where, allow_patterns=[glob.escape(one.filename) for one in wanted])
            _verify(where, paths, "Delete the file and call the command again.")
    return paths


def _verify(where: dict, paths: list[Path], remedy: str):
    """Raises InputError for one of the files that is there and has another checksum than on the hub."""
    found = HfApi().verify_repo_checksums(**where)
    wrong = {where["local_dir"] / one["path"] for one in found.mismatches}
    for path in paths:
        if path in wrong:
            raise InputError(path, "checksum", "is not the hub's", remedy)


def _single(name: str) -> bool:
    """Is it one file for a whole pipeline, which is there in parts, too?"""
    return "/" not in name and name.endswith(".safetensors")


def _check_room(wanted: list, source: Source, folder: Path):
    """Raises InputError where nothing is to be had, or the disk is too small."""
    if not wanted:
        raise InputError(source.repository, source.folder, "is not there", "Look at the repository's page.")
    folder.mkdir(parents=True, exist_ok=True)
    need = SPARE * sum(one.file_size or 0 for one in wanted if one.will_download)
    free = shutil.disk_usage(folder).free
    if need > free:
        problem = f"has {free / 1e9:.1f} GB left, {need / 1e9:.1f} are needed"
        raise InputError(folder, "space", problem, "Choose a folder on a larger disk.")


@contextmanager
def _reached(source: Source, folder: Path) -> Iterator[None]:
    """Inside, what the hub, the connection and the disk refuse is an `InputError` with a remedy."""
    kind = "datasets/" if source.kind == "dataset" else ""
    page = f"https://huggingface.co/{kind}{source.repository}/tree/{source.revision}/{source.folder}"
    try:
        yield
    except InputError:
        raise
    except (httpx2.HTTPError, OSError, ValueError) as error:  # the hub's own are of these kinds
        cause = error.__cause__ or error
        field, problem = "download", f"failed ({first_line(cause)})"
        remedy = f"Connect and try again, or get the files by hand from {page} and put them below {folder}."
        if isinstance(cause, GatedRepoError):
            field, problem, remedy = "access", "is gated", f"Accept the licence at {page}, then: hf auth login"
        elif isinstance(cause, RepositoryNotFoundError):
            field, problem, remedy = "repository", "does not exist or is private", f"Look at {page}"
        elif getattr(cause, "errno", None) == 28:
            field, problem, remedy = "space", "ran out; what is whole is kept", "Free some, and call the command again."
        raise InputError(source.repository, field, problem, remedy) from error
