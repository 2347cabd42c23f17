"""Many pairs and clips: memory stays what it is, however many there are.

`PISA_LOAD=1`: 20,000 pairs, 5,000 clips of a benchmark, 20,000 training clips.
"""

import json
import os
import time
import tracemalloc

import numpy as np
import psutil

from pisa_kit.clips.formats import find_clips, read_clip
from pisa_kit.metrics.scoring import score_file
from pisa_kit.models.embedded import assemble
from pisa_kit.perception.prepare import Settings, prepare
from pisa_kit.sim import corpora
from pisa_kit.sim.datasets import Recipe, write_dataset
from pisa_kit.sim.settings import Video
from pisa_kit.training.latents import cache_latents
from pisa_kit.training.psft import train_transformer
from pisa_kit.training.settings import Training

PAIRS, CLIPS, DROPS = (20_000, 5_000, 20_000) if os.environ.get("PISA_LOAD") else (240, 60, 48)
DROPS = int(os.environ.get("PISA_DROPS", DROPS))
FEW = 20  # after which nothing is new
MEBIBYTE = 2**20


def test_scoring_keeps_numbers_not_masks(tmp_path):
    masks = np.zeros((2, 8, 1, 64, 64), bool)
    masks[0, :, :, 20:30, 20:30] = masks[1, :, :, 22:30, 24:30] = True
    for number, mask in enumerate(masks):
        np.savez_compressed(tmp_path / f"{number}.npz", mask=mask)
    line = json.dumps({"gt_mask": "0.npz", "gt_fps": 16, "pd_mask": "1.npz", "pd_fps": 16})

    def peak(count: int) -> int:
        """Bytes that scoring so many pairs takes at most."""
        pairs = tmp_path / "pairs.jsonl"
        pairs.write_text((line + "\n") * count)
        tracemalloc.start()
        assert score_file(pairs, tmp_path / "scores.jsonl").scored == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(8)  # what is imported and cached only once
    began = time.monotonic()
    few, many = peak(FEW), peak(PAIRS)
    each = (many - few) / (PAIRS - FEW)
    print(f"{PAIRS} pairs: {many / MEBIBYTE:.0f} MiB at most, {each:.0f} B each, {time.monotonic() - began:.0f} s")
    assert each < masks[0].nbytes / 2, "a row of numbers; a mask has 32 KiB"


def test_clips_are_made_and_read_one_by_one(tmp_path):
    process = psutil.Process()

    def work(count: int):
        recipe = Recipe(count, video=Video(32, 9, 16))
        folder = write_dataset(tmp_path / f"data_{count}", recipe, workers=1)
        yield "simulated"
        found = find_clips(folder)
        assert sum(len(read_clip(location)) for location in found) == 9 * count
        yield "read"
        made = prepare(folder, tmp_path / f"ready_{count}", Settings(size=32))
        assert sum("frames" in entry for entry in made["clips"].values()) == count
        yield "prepared"

    list(work(FEW))  # what is taken once: libraries, fonts, the renderer
    began, before = time.monotonic(), process.memory_info().rss
    for what in work(CLIPS):
        grown = process.memory_info().rss - before
        print(f"{CLIPS} clips {what}: {grown / MEBIBYTE:.1f} MiB more, {time.monotonic() - began:.0f} s")
        assert grown < 16 * MEBIBYTE + 4096 * CLIPS, "a line of the manifest; a clip has 500 KiB"


def test_training_clips_stream_from_disk(tmp_path, monkeypatch):
    """From simulation to training steps: a part of the corpus is in memory, then a batch."""
    part = min(DROPS // 4, corpora.SHARD)
    monkeypatch.setattr(corpora, "SHARD", part)
    process, pipeline = psutil.Process(), assemble()
    settings = Training(steps=4, batch=4, learning_rate=1e-4)

    def work(count: int):
        folder = tmp_path / f"{count}"
        recipe = corpora.Corpus("drops", count, video=Video(32, 9, 16))
        corpus = corpora.write_corpus(folder / "corpus", recipe, workers=1)
        yield "simulated"
        cached = cache_latents(pipeline, corpora.read_parts(corpus), corpora.read_captions(corpus), folder / "latents")
        yield "encoded"
        assert len(cached["latents"]) == count
        train_transformer(pipeline, cached, settings, folder / "run")
        yield "trained on"

    list(work(2 * part))  # what is taken once, and by one part
    began, before = time.monotonic(), process.memory_info().rss
    for what in work(DROPS):
        grown = process.memory_info().rss - before
        print(f"{DROPS} training clips {what}: {grown / MEBIBYTE:.1f} MiB more, {time.monotonic() - began:.0f} s")
        assert grown < 48 * MEBIBYTE + 1024 * DROPS, "a caption; a clip has 80 KiB"
