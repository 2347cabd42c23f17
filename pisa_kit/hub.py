"""Downloads from the Hugging Face hub: the benchmark, training clips, checkpoints; resumed, checked, never half."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import httpx
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from pisa_kit.files import InputError, check_choice, first_line
from pisa_kit.prepare import SAM2
from pisa_kit.zoo import ZOO

PISA = "nyu-visionx/pisa-experiments"
NOT_WANTED = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx")  # of models: pickles
HUB_ERRORS = (httpx.HTTPError, OSError)  # the hub's own are of these kinds, the connection's and the disk's too
SPARE = 1.05  # disk space to ask for, over what the files need


@dataclass(frozen=True)
class Source:
    """Where something lies on the hub.

    Args:
        repository: owner/name.
        kind: "dataset" or "model".
        folder: what is wanted of it, as the beginning of paths; "" for everything.
    """

    repository: str
    kind: str = "model"
    folder: str = ""


SOURCES = {
    "bench": Source(PISA, "dataset", "pisabench/"),
    "psft": Source(PISA, "dataset", "training_data/psft.zip"),
    "oro": Source(PISA, "dataset", "training_data/oro.zip"),
    "checkpoints": Source(PISA, "dataset", "checkpoints/"),
    "sam2": Source(SAM2),
    "depth-anything-v2": Source("depth-anything/Depth-Anything-V2-Small-hf"),
} | {name: Source(wants.repository) for name, wants in ZOO.items()}


def download(name: str, folder) -> list[Path]:
    """Fetches the files that are not there yet; a call after an interruption continues.

    Args:
        name: in `SOURCES`.
        folder: they go to folder/<name>, those of the PISA dataset to folder/<their path>.

    Returns:
        The paths of all files.

    Raises:
        InputError: unknown name, no connection, a gated or missing repository, too little disk space, or a file whose
            checksum is not the hub's (it is removed).
    """
    source, folder = SOURCES[check_choice(name, SOURCES, "name")], Path(folder)
    if source.kind == "model":
        folder = folder / name
    wanted = _files(source, folder)
    missing = sum(one.size or 0 for one in wanted if not (folder / one.path).exists())
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if missing * SPARE > free:
        problem = f"has {free / 1e9:.1f} GB left, {missing * SPARE / 1e9:.1f} are needed"
        raise InputError(folder, "space", problem, "Choose a folder on a larger disk.")
    return [_fetch(source, one, folder) for one in wanted]


def _files(source: Source, folder: Path) -> list:
    """The repository's files below the wanted folder, with size and checksum."""
    try:
        tree = list(HfApi().list_repo_tree(source.repository, repo_type=source.kind, recursive=True))
    except HUB_ERRORS as error:
        raise _unreachable(source, folder, error) from error
    files = [one for one in tree if hasattr(one, "size") and one.path.startswith(source.folder)]
    if source.kind == "model":
        paths = {one.path for one in files}
        files = [one for one in files if _loaded(one.path, paths)]
    if not files:
        raise InputError(source.repository, source.folder, "is not there", "Look at the repository's page.")
    return files


def _loaded(path: str, paths: set[str]) -> bool:
    """Does diffusers or transformers load the file? Not pickles, fp16 copies, nor one file for a whole pipeline."""
    single = path.endswith(".safetensors") and "/" not in path and "model_index.json" in paths
    return not (path.endswith(NOT_WANTED) or ".fp16." in path or single)


def _fetch(source: Source, one, folder: Path) -> Path:
    path = folder / one.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(source.repository, one.path, "leads out of the folder", "Do not use this repository.")
    fetched = not path.exists()
    if fetched:
        try:
            hf_hub_download(source.repository, one.path, repo_type=source.kind, local_dir=folder)
        except HUB_ERRORS as error:
            raise _unreachable(source, folder, error) from error
    expected = one.lfs.sha256 if getattr(one, "lfs", None) else None
    if expected and not _verified(path, expected):
        if not fetched:
            raise InputError(path, "checksum", "is not the hub's", "Delete the file, or choose another folder.")
        path.unlink()
        raise InputError(path, "checksum", "is not the hub's, the file was removed", "Call the command again.")
    return path


def _verified(path: Path, expected: str) -> bool:
    """Is the file's sha256 the expected one? What was checked once is remembered in a file beside it."""
    mark = path.with_name(f".{path.name}.sha256")
    stamp = f"{expected} {path.stat().st_mtime_ns}"
    if mark.exists() and mark.read_text(encoding="utf-8") == stamp:
        return True
    with open(path, "rb") as file:
        right = hashlib.file_digest(file, "sha256").hexdigest() == expected
    if right:
        mark.write_text(stamp, encoding="utf-8")
    return right


def _unreachable(source: Source, folder: Path, error: Exception) -> InputError:
    kind = "datasets/" if source.kind == "dataset" else ""
    page = f"https://huggingface.co/{kind}{source.repository}/tree/main/{source.folder}"
    if isinstance(error, GatedRepoError):
        return InputError(source.repository, "access", "is gated", f"Accept the licence at {page}, then: hf auth login")
    if isinstance(error, RepositoryNotFoundError):
        return InputError(source.repository, "repository", "does not exist or is private", f"Look at {page}")
    if isinstance(error, OSError) and error.errno == 28:
        return InputError(folder, "space", "ran out; what is whole is kept", "Free some, and call the command again.")
    manual = f"Connect and try again, or get the files by hand from {page} and put them below {folder}."
    return InputError(source.repository, "download", f"failed ({first_line(error)})", manual)
