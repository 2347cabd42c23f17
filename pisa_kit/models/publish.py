"""Tuned models to the Hugging Face hub: weights or adapter, a card of how they were made, settings, scores, videos."""

import json
import tempfile
from pathlib import Path

import httpx2
import pandas as pd
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, ModelCardData

from pisa_kit.clips.formats import find_clips, read_clip
from pisa_kit.clips.media import write_mp4
from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError, first_line
from pisa_kit.core.storage import plain_file, read_json
from pisa_kit.models.families import class_in
from pisa_kit.models.zoo import ZOO

RECORDS = ("settings.json", "validation.json", "log.jsonl")  # of a run
WHOLE = "A `{kind}`. Load it with diffusers' `from_pretrained`."
ADAPTER = "A low-rank adapter (LoRA). Load {base}, and then this with diffusers' `load_lora_weights`."
ABOUT = """It comes from physics post-training with pisa_kit, the study kit for the PISA experiments
([arXiv 2503.09595](https://arxiv.org/abs/2503.09595)): simulated drops, first frame and caption to video. It was
trained on rendered drops of single objects, for studying what post-training teaches; nothing else of it was tested.
The licence of the model that was tuned holds for it, too."""


def what_to_push(model, repository: str, scores=None, videos=None, base: str | None = None) -> dict[str, Path | bytes]:
    """What `push` uploads: path in the repository to file or content.

    Args:
        model: folder of a run's result, adapter_400 or pipeline_400; the run's settings, log and validations beside it
            come along.
        repository: owner/name.
        scores: csv of `pisa evaluate`.
        videos: folder with the videos that were scored; they are published as mp4.
        base: of an adapter, a name of the zoo or owner/name.

    Raises:
        InputError: neither a pipeline nor an adapter, or a file that is missing.
    """
    model = Path(model)
    adapter = (model / LORA_WEIGHT_NAME_SAFE).exists()
    base = ZOO[base].repository if base in ZOO else base
    text = ADAPTER.format(base=base or "its base") if adapter else WHOLE.format(kind=class_in(model))
    files = {path.relative_to(model).as_posix(): path for path in sorted(model.rglob("*")) if path.is_file()}
    files |= {path.name: path for name in RECORDS if (path := model.parent / name).exists()}
    if scores:
        files["scores.csv"] = plain_file(scores)
    if videos:
        files |= _as_mp4(Path(videos))
    made = {"steps": int(steps)} if (steps := model.name.rpartition("_")[2]).isdecimal() else {}
    files["README.md"] = str(model_card(files, repository, f"{text}\n\n{ABOUT}", base, adapter, made)).encode()
    return files


def _as_mp4(folder: Path) -> dict[str, Path | bytes]:
    """The folder's videos, and how they were made (without paths of this machine)."""
    files = {}
    with tempfile.TemporaryDirectory() as temporary:
        for one in find_clips(folder):
            clip, path = read_clip(one), Path(temporary) / "video.mp4"
            write_mp4(path, clip.frames, clip.fps)
            files[f"videos/{one.name}.mp4"] = path.read_bytes()
    if (folder / "manifest.json").exists():
        made = check(dict, read_json(folder / "manifest.json"), folder / "manifest.json")
        local = [name for name in ("model", "weights") if Path(str(made.get(name, ""))).is_absolute()]
        made |= {name: Path(made[name]).name for name in local}
        files["videos/manifest.json"] = json.dumps(made, indent=1).encode()
    return files


def push(files: dict[str, Path | bytes], repository: str, private: bool = True) -> str:
    """Publishes the files of `what_to_push` in one commit.

    Args:
        repository: owner/name; created if it is not there.
        private: of a new repository.

    Returns:
        The address.

    Raises:
        InputError: no connection, or no right to write.
    """
    api = HfApi()
    try:
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_repo(repository, private=private, exist_ok=True)
        api.create_commit(repository, operations, commit_message="Upload with pisa_kit")
    except (httpx2.HTTPError, OSError, ValueError) as error:
        remedy = "Log in with `hf auth login`, check owner/name and connection, and call it again."
        raise InputError(repository, "upload", f"failed ({first_line(error)})", remedy) from error
    return f"{api.endpoint}/{repository}"


def model_card(
    files: dict, repository: str, text: str, base: str | None = None, adapter: bool = False, made: dict | None = None
) -> ModelCard:
    """The card of a tuned model: what it is, every number of its training, what held-out clips said, its scores.

    Args:
        files: as of `what_to_push`.
        text: the introduction.
        base: repository of the model that was tuned.
        adapter: is it an adapter?
        made: settings of this result that are not those of its run's end.
    """
    tags = ["image-to-video", "physics", "pisa", *(["lora"] if adapter else [])]
    about = ModelCardData(library_name="diffusers", pipeline_tag="image-to-video", tags=tags, base_model=base)
    lines = [f"---\n{about.to_yaml()}\n---", f"# {repository.split('/')[-1]}", text]
    if "settings.json" in files:
        settings = read_json(files["settings.json"]) | (made or {})
        made = pd.DataFrame(settings.items(), columns=["setting", "value"])
        lines += [f"Run `{files['settings.json'].parent.name}`:", _markdown(made)]
    if "validation.json" in files:
        lines += ["Validation clips (they chose the step and are not a result):"]
        found = read_json(files["validation.json"])
        lines += [_markdown(pd.DataFrame(found["looks"] if isinstance(found, dict) else found).round(4))]
    if "scores.csv" in files:
        scores = pd.read_csv(files["scores.csv"], dtype={"name": str}).drop(columns="seed", errors="ignore")
        means = scores.mean(numeric_only=True).round(4).rename_axis("metric")
        lines += ["Means over the clips in [scores.csv](scores.csv):", _markdown(means.reset_index(name="mean"))]
    return ModelCard("\n\n".join(lines) + "\n")


def _markdown(table: pd.DataFrame) -> str:
    rows = table.columns, ["---"] * table.shape[1], *table.to_numpy()
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
