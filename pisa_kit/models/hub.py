"""The Hugging Face hub: benchmark, training clips and weights fetched, resumed and checked; tuned models published."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pandas as pd
from huggingface_hub import HfApi, ModelCard, ModelCardData, hf_hub_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from pisa_kit.core.checks import PlainName, check
from pisa_kit.core.errors import InputError, check_choice, first_line
from pisa_kit.core.storage import read_json
from pisa_kit.models.zoo import ZOO
from pisa_kit.perception.trackers import SAM2

PISA = "nyu-visionx/pisa-experiments"
NOT_WANTED = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx")  # of models: pickles
HUB_ERRORS = (httpx2.HTTPError, OSError)  # the hub's own are of these kinds, the connection's and the disk's too
CARD = """A `{kind}` after physics post-training with pisa_kit, the study kit for the PISA experiments
([arXiv 2503.09595](https://arxiv.org/abs/2503.09595)): simulated drops, first frame and caption to video.

Load it with diffusers' `from_pretrained`. It was trained on rendered drops of single objects, for studying what
post-training teaches; nothing else of it was tested."""
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
        name: in `SOURCES`, or owner/name of any model in diffusers' format, e.g. one that `push` published.
        folder: they go to folder/<name>, those of the PISA dataset to folder/<their path>.

    Returns:
        The paths of all files.

    Raises:
        InputError: unknown name, no connection, a gated or missing repository, too little disk space, or a file whose
            checksum is not the hub's (it is removed).
    """
    check(PlainName, name, "arguments", "name", "Give a name of the list, or owner/name.")
    source = Source(name) if "/" in name else SOURCES[check_choice(name, SOURCES, "name")]
    folder = Path(folder)
    if source.kind == "model":
        folder = folder / name.split("/")[-1]
    wanted = _files(source, folder)
    missing = sum(one.size or 0 for one in wanted if not (folder / one.path).exists())
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if missing * SPARE > free:
        problem = f"has {free / 1e9:.1f} GB left, {missing * SPARE / 1e9:.1f} are needed"
        raise InputError(folder, "space", problem, "Choose a folder on a larger disk.")
    return [_fetch(source, one, folder) for one in wanted]


def push(pipeline, repository: str, private: bool = True) -> str:
    """Publishes a tuned pipeline in diffusers' format, with a model card that says how it was made.

    Args:
        pipeline: folder of a run, e.g. runs/full/models/psft_.../pipeline_400; the run's settings.json beside it and,
            of ORO, validation.json go into the card.
        repository: owner/name; created if it is not there.
        private: of a new repository.

    Returns:
        The address.

    Raises:
        InputError: not a pipeline's folder, no connection, or no right to write.
    """
    pipeline = Path(pipeline)
    card = model_card(pipeline, repository)
    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=pipeline, ignore_patterns=["README.md"])
        card.push_to_hub(repository)
    except (*HUB_ERRORS, ValueError) as error:
        remedy = "Log in with `hf auth login`, check owner/name and connection, and call it again."
        raise InputError(repository, "upload", f"failed ({first_line(error)})", remedy) from error
    return f"https://huggingface.co/{repository}"


def model_card(pipeline: Path, repository: str) -> ModelCard:
    """The card of a tuned pipeline: kind, every number of its training, what held-out clips said."""
    index = read_json(pipeline / "model_index.json")
    if "_class_name" not in index:
        raise InputError(pipeline / "model_index.json", "_class_name", "is missing", "Give a pipeline's folder.")
    tags = ["image-to-video", "physics", "pisa"]
    about = ModelCardData(license="apache-2.0", library_name="diffusers", pipeline_tag="image-to-video", tags=tags)
    lines = [f"---\n{about.to_yaml()}\n---", f"# {repository.split('/')[-1]}", CARD.format(kind=index["_class_name"])]
    settings, eval_steps = pipeline.parent / "settings.json", pipeline.parent / "validation.json"
    if settings.exists():
        rows = [f"| {name} | {value} |" for name, value in read_json(settings).items()]
        lines += [
            f"Run `{pipeline.parent.name}`, `{pipeline.name}`:",
            "\n".join(["| setting | value |", "|---|---|", *rows]),
        ]
    if eval_steps.exists():
        table = pd.DataFrame(read_json(eval_steps)).round(4)
        rows = [" | ".join(map(str, row)) for row in (table.columns, ["---"] * table.shape[1], *table.to_numpy())]
        lines += [
            "Validation clips (they chose the step and are not a result):",
            "\n".join(f"| {row} |" for row in rows),
        ]
    return ModelCard("\n\n".join(lines) + "\n")


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
