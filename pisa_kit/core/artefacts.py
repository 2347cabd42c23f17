"""What an artefact is called: by everything that shaped it, and by nothing else. The one place that decides.

A name holds a hash of settings, of data and weights, and of the code that made it. Of code, its syntax tree counts:
comments, docstrings and line breaks change nothing, any other change does. Free of torch until a model is named.
"""

import ast
import functools
import hashlib
import json
import sys
from pathlib import Path

CLIPS = (
    *("sim/scenes", "sim/settings", "sim/shapes", "sim/textures", "sim/mujoco_model", "sim/simulate", "sim/motion"),
    "clips/clip",
)
MODEL = ("models/conditioning", "models/families", "models/codec")
PERCEPTION = ("perception/trackers", "perception/flow", "perception/depth", "perception/nets")
LOOP = ("training/loop", "training/optimizers", "training/settings")
TRAINING = (*MODEL, *LOOP, "models/adapters", "training/psft")
VIDEOS = (*MODEL, "models/sampling", "models/generation", "models/zoo")
CODE = {  # kind of artefact: the modules that decide what is in it
    "clips": CLIPS,
    "drops": (*CLIPS, "sim/worlds", "sim/probes", "sim/corpora", "sim/diet"),
    "references": (*CLIPS, *MODEL, "sim/references", "perception/guess", "perception/nets"),
    "latents": (*MODEL, "sim/corpora", "training/latents"),
    "guess": (*LOOP, "perception/guess", "perception/nets", "training/pretrain_perception"),
    "psft": TRAINING,
    "oro": (*TRAINING, "training/oro", "training/rewards", "models/sampling", *PERCEPTION),
    "mixed": ("study/paper_clips", "clips/resize", "clips/formats"),
    "candidates": (
        *(*TRAINING, "training/gradient_free", "training/rewards", "models/sampling", *PERCEPTION),
        "metrics/l2_chamfer_iou",
    ),
    "videos": VIDEOS,
    "validation": (
        *(*VIDEOS, *PERCEPTION, "metrics/evaluation", "metrics/scoring", "metrics/l2_chamfer_iou"),
        "metrics/appearance",
    ),
}
PACKAGE = Path(__file__).parents[1]


def key(kind: str, *facts) -> str:
    """A short name for an artefact: changes with the code of its kind and with any of the facts.

    Args:
        kind: in `CODE`.
        facts: whatever `repr` tells apart: settings, names, hashes.
    """
    return hashlib.sha256(repr((code(kind), facts)).encode()).hexdigest()[:8]


@functools.cache
def code(kind: str) -> str:
    """A short name for the code that makes a kind of artefact."""
    sources = [(PACKAGE / f"{name}.py").read_text(encoding="utf-8") for name in CODE[kind]]
    return hashlib.sha256("".join(map(syntax, sources)).encode()).hexdigest()[:8]


def syntax(source: str) -> str:
    """A short name for what Python code does, whatever its comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    whole = {"show_empty": True} if sys.version_info >= (3, 13) else {}  # so that every Python says the same
    return hashlib.sha256(ast.dump(tree, **whole).replace(", type_params=[]", "").encode()).hexdigest()[:16]


def weights(module) -> str:
    """A short name for the weights and buffers of a torch module."""
    import torch

    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:8]


def model(pipeline) -> str:
    """A short name for everything of a diffusers pipeline that shapes a video: weights, scheduler, tokenizer."""
    parts = {name: part for name, part in sorted(pipeline.components.items()) if part is not None}
    facts = [(name, weights(part)) for name, part in parts.items() if hasattr(part, "state_dict")]
    facts.append(json.dumps(dict(pipeline.scheduler.config), sort_keys=True, default=str))
    facts.append(json.dumps(parts["tokenizer"].get_vocab(), sort_keys=True) if "tokenizer" in parts else "")
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:8]


def files(folder) -> str:
    """A short name for a file, or for all files of a folder, of weights or of clips; hidden ones do not count."""
    digest, folder = hashlib.sha256(), Path(folder)
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            digest.update(path.relative_to(folder).as_posix().encode())
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:8]


def entry(path: Path) -> dict:
    """What a manifest says of a clip, a file or a folder: its size in bytes, 0 where nothing is, and its hash."""
    return {"bytes": _bytes(path), "hash": files(path)}


def is_whole(path: Path, entry: dict, verify: bool) -> bool:
    """Is a clip what its entry in a manifest says: its size, and if `verify` its hash?"""
    return _bytes(path) == entry.get("bytes") and (not verify or files(path) == entry.get("hash"))


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.glob("*")))
