"""Latents on disk: a file per part, continued after an interruption, rows read as numpy would index them."""

import numpy as np
import pytest
import torch

from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import read_json, write_json
from pisa_kit.models.codec import CHANNELS
from pisa_kit.models.embedded import TEXT_WIDTH, assemble
from pisa_kit.perception.tensors import to_video
from pisa_kit.training import latents
from pisa_kit.training.latents import INDEX, cache_latents, places_below, read_latents

CAPTIONS = ["a red ball falls.", "a falls.", "a red ball falls. a blue ball falls.", "a ball falls.", "a ball falls."]


@pytest.fixture(scope="module")
def pipeline():
    return assemble()


def parts():
    """Two, one and two clips of noise, the object in a corner."""
    rng = np.random.default_rng(0)
    for count in (2, 1, 2):
        masks = np.zeros((count, 3, 32, 32), bool)
        masks[:, :, :8, :8] = True
        yield rng.integers(0, 256, (count, 3, 32, 32, 3), np.uint8), masks


def test_rows_are_what_an_array_in_memory_would_give(pipeline, tmp_path):
    whole = [np.concatenate(arrays) for arrays in zip(*parts(), strict=True)]
    one = cache_latents(pipeline, [whole], CAPTIONS, tmp_path / "one")
    many = cache_latents(pipeline, parts(), CAPTIONS, tmp_path / "many")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) == 3
    for name, stored in many.items():
        array = one[name][:]
        assert stored.shape == array.shape and len(stored) == 5
        for rows in (slice(None), slice(1, 4), slice(-2, None), [4, 0, 2, 0], np.array([3])):
            np.testing.assert_allclose(stored[rows], array[rows], rtol=2e-3, atol=2e-3)
        assert stored[:0].shape == array[:0].shape
    below = many["below"][:]
    assert below[:, 0, 0].all() and not below[:, 0, -1].any()


def test_they_are_those_of_the_autoencoder(pipeline, tmp_path):
    (videos, masks), *_ = parts()
    stored = cache_latents(pipeline, [(videos, masks)], CAPTIONS[:2], tmp_path, batch=1)
    with torch.no_grad():
        direct = latents.encode(pipeline.vae, to_video(videos))
    np.testing.assert_allclose(stored["latents"][:], direct, rtol=1e-3, atol=1e-3)  # float16
    assert stored["latents"].shape == (2, CHANNELS, 3, 4, 4) and stored["text"].shape[2] == TEXT_WIDTH


def test_an_interrupted_call_encodes_only_what_is_missing(pipeline, tmp_path, monkeypatch):
    encode, seen = latents.encode, []

    def counting(autoencoder, frames):
        seen.append(len(frames))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return encode(autoencoder, frames)

    monkeypatch.setattr(latents, "encode", counting)
    with pytest.raises(KeyboardInterrupt):
        cache_latents(pipeline, parts(), CAPTIONS, tmp_path)
    assert seen == [2, 1] and not (tmp_path / INDEX).exists()
    cache_latents(pipeline, parts(), CAPTIONS, tmp_path)
    assert seen == [2, 1, 1, 2]
    cache_latents(None, (), [], tmp_path)  # finished: nothing is asked for
    assert seen == [2, 1, 1, 2]


def test_damage_is_named(pipeline, tmp_path):
    stored = cache_latents(pipeline, parts(), CAPTIONS, tmp_path)
    (tmp_path / "000001.safetensors").write_bytes(b"no tensors")
    assert len(stored["text"][:2]) == 2
    with pytest.raises(InputError, match="000001.safetensors: latents: are damaged"):
        stored["latents"][[2]]
    write_json(tmp_path / INDEX, {**read_json(tmp_path / INDEX), "clips": [2, -1]})
    with pytest.raises(InputError, match="index.json"):
        read_latents(tmp_path)


def test_places_below_an_object_are_known_from_its_first_mask():
    mask = np.zeros((1, 64, 64), bool)
    mask[0, 16:24, 24:32] = True
    below = places_below(mask, 8, 8)[0]
    assert not below[:2].any() and below[2:, 2:5].all() and below.sum() == 18
    assert not places_below(np.zeros((1, 64, 64), bool), 8, 8).any()
