"""A tuned model on its way to others: an adapter films, is scored, merged and listed for publishing, by commands."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_pipelines
import torch
from diffusers import WanImageToVideoPipeline
from safetensors.torch import load_file, save_file

from pisa_kit.cli import data, models
from pisa_kit.clips.formats import read_clip
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import read_json, write_json
from pisa_kit.metrics.evaluation import evaluate_videos
from pisa_kit.models.adapters import add_adapter, load_adapter, save_adapter
from pisa_kit.models.embedded import load
from pisa_kit.sim.scenes import sample
from pisa_kit.sim.simulate import simulate
from pisa_kit.study.presets import get_preset
from pisa_kit.study.run import RECOMMENDED, Run

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Prepared clips, and an adapter for the embedded model that changes something."""
    folder = tmp_path_factory.mktemp("share")
    data.simulate(folder / "raw", count=2, layout="sim", workers=1)
    data.prepare(folder / "raw", folder / "clips", size=64)
    pipeline = load()
    add_adapter(pipeline.transformer, 2, seed=0)
    for name, parameter in pipeline.transformer.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    save_adapter(pipeline, folder / "adapter_1")
    return folder


def films(folder) -> list[np.ndarray]:
    return [read_clip(path).frames for path in sorted(folder.glob("*.npz"))]


def test_an_adapter_films_is_scored_merged_and_listed(folder, capsys):
    data.evaluate(folder / "clips", folder / "tuned", folder / "scores.csv", lora=folder / "adapter_1", tracker="judge")
    models.generate("embedded", folder / "clips", folder / "base", seed=10**14)
    models.merge(folder / "adapter_1", folder / "merged")
    models.generate("embedded", folder / "clips", folder / "whole", path=folder / "merged")
    assert isinstance(WanImageToVideoPipeline.from_pretrained(folder / "merged"), WanImageToVideoPipeline)
    for tuned, base, whole in zip(*(films(folder / name) for name in ("tuned", "base", "whole")), strict=True):
        assert np.abs(tuned.astype(int) - whole).max() <= 1 and (tuned != base).mean() > 0.1
    revisions = {name: read_json(folder / name / "manifest.json")["revision"] for name in ("tuned", "base", "whole")}
    assert len(set(revisions.values())) == 3
    models.push(folder / "adapter_1", "me/drops", folder / "scores.csv", folder / "tuned", dry_run=True)
    said = capsys.readouterr().out
    assert "scored 2 of 2" in said
    for name in ("pytorch_lora_weights.safetensors", "README.md", "scores.csv", "videos/00000.mp4"):
        assert f"  {name}\n" in said, name


def test_an_adapter_that_finds_no_place_is_refused(folder, tmp_path):
    tensors = load_file(folder / "adapter_1" / "pytorch_lora_weights.safetensors")
    first = [name for name in tensors if "blocks.0." in name]
    deeper = {name.replace("blocks.0.", "blocks.90."): tensors[name].clone() for name in first}
    save_file(tensors | deeper, tmp_path / "deeper.safetensors")
    with pytest.raises(InputError, match="deeper.safetensors: adapter: cannot be loaded .*have a place"):
        load_adapter(load(), tmp_path / "deeper.safetensors")


def test_a_zoo_model_films_with_an_adapter(folder, tmp_path):
    pipeline = tiny_pipelines.make("wan2.2-ti2v-5b")
    pipeline.save_pretrained(tmp_path / "wan")
    add_adapter(pipeline.transformer, 2, seed=0)
    save_adapter(pipeline, tmp_path / "adapter")
    with pytest.raises(InputError, match="adapter: cannot be loaded"):
        models.generate("wan2.2-ti2v-5b", folder / "clips", tmp_path / "x", tmp_path / "wan", folder / "adapter_1")
    with pytest.raises(InputError, match="path: is missing.*pisa download wan2.2-ti2v-5b"):
        models.generate("wan2.2-ti2v-5b", folder / "clips", tmp_path / "x", lora=tmp_path / "adapter")
    index = read_json(tmp_path / "wan" / "model_index.json")  # Wan-AI's own names the pipeline without a picture
    index |= {"_class_name": "WanPipeline", "transformer_2": [None, None], "boundary_ratio": None}
    write_json(tmp_path / "wan" / "model_index.json", index)
    wan = ("wan2.2-ti2v-5b", folder / "clips", tmp_path / "y", tmp_path / "wan", tmp_path / "adapter")
    models.generate(*wan, steps=1, guidance=1.0)
    made = read_json(tmp_path / "y" / "manifest.json")
    assert (made["size"], made["frames"], made["fps"]) == (64, 17, 16), "as it was tuned, not as its makers film"
    tiny_pipelines.make("stable-video-diffusion").save_pretrained(tmp_path / "svd")
    with pytest.raises(InputError, match="_class_name: is 'StableVideoDiffusionPipeline'"):
        models.generate(
            "stable-video-diffusion", folder / "clips", tmp_path / "x", tmp_path / "svd", folder / "adapter_1"
        )


def test_the_list_says_what_was_run_here(capsys):
    models.models()
    said = capsys.readouterr().out
    assert "wan2.2-ti2v-5b           704x1280    121   24    50        5  yes" in said
    assert "by hand (needs torchvision)" in said and "No real checkpoint was run here" in said


def test_a_real_base_is_filmed_at_its_makers_size_and_at_the_tuned_one(tmp_path):
    """The whole way of notebook 01: both are scored at the tuned size, and say how they were made."""
    tiny_pipelines.make("wan2.2-ti2v-5b").save_pretrained(tmp_path / "wan")
    preset = replace(get_preset("gpu_smoke", tmp_path / "wan"), sampling_steps=1)
    run = Run(preset, tmp_path / "run")
    assert run.bases() == [RECOMMENDED, "base"] and Run(get_preset("mini"), tmp_path).bases() == ["base"]
    truths, made = [simulate(sample(1), 64, 17, 16, name="one")], {}
    for name in run.bases():
        made[name] = run.videos(name, truths, 0)
        assert len(evaluate_videos(truths, made[name], workers=1).table) == 1
        assert made[name][0].frames.shape == truths[0].frames.shape
    assert (made["base"][0].frames != made[RECOMMENDED][0].frames).any()
    manifests = [read_json(path) for path in sorted((tmp_path / "run" / "videos").rglob("manifest.json"))]
    manifests = [one for one in manifests if "guidance" in one]
    plain, recommended = sorted(manifests, key=len)
    assert plain["guidance"] == recommended["guidance"] == 5.0 and (plain["steps"], recommended["steps"]) == (1, 2)
    assert {name: recommended["spec"][name] for name in preset.recommended} == preset.recommended


def test_a_large_base_in_bf16_is_trained_and_has_its_ceilings(tmp_path, monkeypatch):
    """As on a GPU: weights in bf16, trainings of two precisions in one process, a best guess for other videos."""
    tiny_pipelines.make("wan2.2-ti2v-5b").save_pretrained(tmp_path / "wan")
    preset = get_preset("gpu_smoke data.video.size=96", tmp_path / "wan")
    run = Run(replace(preset, guess=replace(preset.guess, steps=2, batch=4)), tmp_path / "run")
    monkeypatch.setattr(Run, "dtype", lambda self: torch.bfloat16)
    truths = [simulate(sample(1), 96, 17, 16, name="one")]
    for method in ("PSFT", "codec", "best guess", "PSFT"):
        assert run.videos(method, truths, 0)[0].frames.shape == truths[0].frames.shape
    assert run.base() is run.base() and run.base().vae.dtype == torch.bfloat16
