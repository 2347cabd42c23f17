"""How much faster `score_file` is than the straightforward implementation: `python tests/bench_score.py [--pairs 361]`.

Both load the same files with the same number of processes; the reference searches KD-trees of all mask pixels,
frame by frame. The released metrics of the two must agree to 1e-9.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy.spatial import KDTree

from pisa_kit.clips.annotations import read_masks
from pisa_kit.metrics.l2_chamfer_iou import both_scores
from pisa_kit.metrics.scoring import OFFICIAL, score_file

FRAMES, SIZE, FPS = 32, 256, 16


def falling_blob(shape: np.ndarray, speed: float, drift: float) -> np.ndarray:
    """(T, H, W) bool: a lobed, turning blob that falls and stays on the ground; `shape` is x, y, radius, aspect."""
    x0, y0, radius, aspect = shape
    y, x = np.mgrid[:SIZE, :SIZE]
    masks = []
    for time_ in np.linspace(0, 1.3, FRAMES):
        center = min(y0 + 160 * speed * time_**2, SIZE - 1 - aspect * radius)
        lobes = 1 + 0.1 * np.sin(5 * np.arctan2(y - center, x - x0) + 3 * time_)
        masks.append(((x - x0 - drift * time_) / radius) ** 2 + ((y - center) / (aspect * radius)) ** 2 < lobes)
    return np.stack(masks)


def write_pairs(folder: Path, count: int) -> Path:
    """Writes `count` pairs of one-object masks of about 1,500 to 4,000 pixels, and the jsonl that lists them."""
    generator = np.random.default_rng(0)
    lines = []
    for index in range(count):
        shape = generator.uniform([80, 40, 22, 0.9], [170, 60, 31, 1.3])
        clips = {"gt_mask": falling_blob(shape, 1, 0)}
        clips["pd_mask"] = falling_blob(shape, generator.uniform(0.3, 1), generator.uniform(-10, 10))
        entry = {"gt_fps": FPS, "pd_fps": FPS}
        for key, masks in clips.items():
            path = folder / key / f"{index:03d}" / "mask.npz"
            path.parent.mkdir(parents=True)
            np.savez_compressed(path, mask=masks[:, None])
            entry[key] = str(path.relative_to(folder))
        lines.append(json.dumps(entry))
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return folder / "pairs.jsonl"


def reference(folder: Path, line: str) -> dict[str, float]:
    """The released metrics, computed the plain way."""
    entry = json.loads(line)
    truth, prediction = (np.load(folder / entry[key])["mask"][:, -1] for key in ("gt_mask", "pd_mask"))
    rows = []
    for a, b in zip(truth, prediction, strict=True):
        pixels_a, pixels_b = np.argwhere(a), np.argwhere(b)
        l2 = np.abs(pixels_a.mean(0) - pixels_b.mean(0)).mean()
        there, back = KDTree(pixels_b).query(pixels_a)[0], KDTree(pixels_a).query(pixels_b)[0]
        rows.append((l2, there.mean() + back.mean(), (a & b).sum() / (a | b).sum()))
    l2, chamfer, iou = np.mean(rows, 0)
    scale = np.sqrt(2) * SIZE
    return {"l2": l2 / scale, "chamfer_distance": chamfer / scale, "iou": iou}


def time_parts(folder: Path, lines: list[str]) -> tuple[float, float]:
    """Milliseconds per pair, in one process: reading the masks, measuring them."""
    reading = measuring = 0.0
    for line in lines:
        entry, start = json.loads(line), time.perf_counter()
        truth, prediction = (read_masks(folder / entry[key])[:, -1] for key in ("gt_mask", "pd_mask"))
        read = time.perf_counter()
        both_scores(truth, FPS, prediction, FPS)
        reading, measuring = reading + read - start, measuring + time.perf_counter() - read
    return 1e3 * reading / len(lines), 1e3 * measuring / len(lines)


def time_both(folder: Path, lines: list[str], workers: int) -> tuple[float, float, float]:
    """Seconds of `score_file`, seconds of the reference, largest difference, for the same lines."""
    part = folder / "part.jsonl"
    part.write_text("\n".join(lines))
    start = time.perf_counter()
    report = score_file(part, folder / "scores.jsonl", workers=workers)
    middle = time.perf_counter()
    expected = Parallel(n_jobs=workers)(delayed(reference)(folder, line) for line in lines)
    end = time.perf_counter()
    assert not report.failures, report.failures
    difference = max(abs(report.table[key] - [row[key] for row in expected]).max() for key in OFFICIAL)
    assert difference < 1e-9, difference
    return middle - start, end - middle, difference


def main():
    """Writes the pairs, times both implementations in turns, checks that they agree, prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=361)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4, help="turns, so that other load on the machine meets both")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = write_pairs(folder, arguments.pairs).read_text().splitlines()
        time_both(folder, lines[: 8 * arguments.workers], arguments.workers)  # starts processes, imports both
        rounds = [
            time_both(folder, lines[first :: arguments.rounds], arguments.workers) for first in range(arguments.rounds)
        ]
        reading, measuring = time_parts(folder, lines[:30])
    ours, plain, differences = zip(*rounds, strict=True)
    print(f"{arguments.pairs} pairs, {arguments.workers} processes; largest difference {max(differences):.1e}")
    print(f"score_file {sum(ours):.2f} s, reference {sum(plain):.2f} s, ratio {sum(plain) / sum(ours):.1f}")
    print("ratio in each round: " + ", ".join(f"{b / a:.1f}" for a, b in zip(ours, plain, strict=True)))
    print(f"one process, per pair: {reading:.1f} ms reading, {measuring:.1f} ms measuring both kinds of metrics")


if __name__ == "__main__":
    main()
