"""How many clips per second the simulator writes, and where the time goes: `python tests/bench_simulate.py`.

Each setting runs in two processes that sample, simulate, render and write complete clips (RGB, masks, depth, flow).
Targets on two undisturbed cores: 20 clips/s at 64x64x17, 1 clip/s at 256x256x32.
"""

import argparse
import tempfile
import time
from collections import Counter
from functools import wraps
from pathlib import Path

from joblib import Parallel, delayed

from pisa_kit.clips import formats
from pisa_kit.sim import datasets, simulate
from pisa_kit.sim.mujoco_model import load_mujoco
from pisa_kit.sim.settings import Video

PROCESSES = 2


def timed(module, name: str, stage: str, spent: Counter):
    """Replaces `module.name` by itself with a stop-watch."""
    function = getattr(module, name)

    @wraps(function, assigned=())
    def watched(*args, **options):
        start = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            spent[stage] += time.perf_counter() - start

    setattr(module, name, watched)


def write_clips(folder: Path, recipe: datasets.Recipe, indices: range) -> tuple[Counter, float]:
    """Seconds per stage and in all of one process."""
    spent = Counter()
    recipe.clip(0)  # opens the renderer, imports everything
    for module, name, stage in (
        (datasets, "sample", "scene"),
        (simulate, "build", "model"),
        (simulate, "run_physics", "physics"),
        (load_mujoco(), "MjrContext", "context"),
        (simulate, "render", "rendering"),
        (simulate, "optical_flow", "flow"),
        (datasets, "write_clip", "writing"),
    ):
        timed(module, name, stage, spent)
    start = time.perf_counter()
    for index in indices:
        formats.write_clip(recipe.clip(index), folder / f"{index:05d}.npz", "npz")
    total = time.perf_counter() - start
    spent["rendering"] -= spent["context"]
    spent["other"] = total - sum(spent.values())
    return spent, total


def measure(video: Video, count: int):
    """Prints clips per second of `PROCESSES` processes together and the share of each stage."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = datasets.Recipe(count * PROCESSES, video=video)
        parts = [range(first, count * PROCESSES, PROCESSES) for first in range(PROCESSES)]
        results = Parallel(n_jobs=PROCESSES)(delayed(write_clips)(Path(folder), recipe, part) for part in parts)
    rate = sum(count / total for _, total in results)
    spent = sum((part for part, _ in results), Counter())
    shares = ", ".join(f"{stage} {seconds / sum(spent.values()):.0%}" for stage, seconds in spent.most_common())
    print(f"{video.size}x{video.size}x{video.frames}: {rate:.1f} clips/s in {PROCESSES} processes ({shares})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100, help="clips per process at 64x64x17")
    clips = parser.parse_args().clips
    measure(Video(64, 17, 16), clips)
    measure(Video(256, 32, 16), max(clips // 10, 3))
