"""PSFT with generic clips among the drops, so that captions keep their meaning: replay against forgetting."""

from dataclasses import replace

import numpy as np
from diffusers import DiffusionPipeline

from pisa_kit.core import artefacts
from pisa_kit.study.run import Run
from pisa_kit.training.psft import train_transformer


def with_replay(run: Run, seed: int, watch=None) -> DiffusionPipeline:
    """The base after PSFT on all of PSFT's drops and a share `psft.replay` of generic clips, trained once and kept.

    The clips are of the kind the base was pre-trained on (`diet.diet_clip`), of seen and unseen things. As many steps
    as PSFT itself, so that each drop is seen less often.

    Args:
        watch: see `loop.train`.
    """
    clips, settings = run.preset.psft.clips, replace(run.preset.psft.training, seed=seed)
    folders = [run.psft_folder(clips, seed, stage, steps=settings.steps) for stage in ("psft", "replay")]
    key = artefacts.key("psft", [folder.name for folder in folders])
    cached = joined(run.latents(seed), run.latents(seed, "replay"))
    folder = folders[0].with_name(f"replay_seed{seed}_{key}")
    return train_transformer(run.base(), cached, settings, folder, "PSFT, replay", watch)


def joined(*parts: dict) -> dict[str, np.ndarray]:
    """Several results of `Run.latents` as one, in memory; shorter texts are filled up with zeros."""
    arrays = [{name: array[:] for name, array in part.items()} for part in parts]
    longest = max(each["text"].shape[1] for each in arrays)
    for each in arrays:
        each["text"] = np.pad(each["text"], ((0, 0), (0, longest - each["text"].shape[1]), (0, 0)))
    return {name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]}
