"""One folder of finished videos scored, or one per seed: spread over seeds beside intervals over clips."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pisa_kit.core.checks import Few, check
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import disk
from pisa_kit.metrics.evaluation import TRACKER, evaluate_videos
from pisa_kit.metrics.scoring import METRICS, Report
from pisa_kit.metrics.statistics import summarise
from pisa_kit.models.generation import read_videos
from pisa_kit.perception.prepare import read_prepared


@dataclass(frozen=True)
class SeedReport(Report):
    """`Report` of several seeds: `table` has a column "seed", names of failures begin with the seed's folder."""

    def summary(self) -> pd.DataFrame:
        """Per metric: "mean", "std" over the seeds' means, "low" and "high" over clips (each its mean over seeds)."""
        each = self.table.groupby("seed")[list(METRICS)].mean()
        clips = self.table.groupby("name", sort=False)[list(METRICS)].mean().reset_index()
        return summarise(clips, METRICS).assign(std=each.std(ddof=1).to_numpy(), seeds=len(each)).set_index("metric")

    def lines(self) -> list[str]:
        """Text for a terminal: `scored n of N`, a line per metric and a line per failure."""
        lines = [f"scored {self.scored} of {self.total}"]
        if self.scored:
            row = "  {0:<24}{1.mean:.4f} ± {1.std:.4f} [{1.low:.4f}, {1.high:.4f}]  n = {1.n}, seeds = {1.seeds}"
            lines += [row.format(values.Index, values) for values in self.summary().itertuples()]
        return lines + [f"failed: {name}: {reason}" for name, reason in self.failures]


def seed_folders(videos, seeds: int) -> list[Path]:
    """The folders seed0, seed1, ... of a folder of videos.

    Raises:
        InputError: another number of them than `seeds`.
    """
    with disk(videos, "file", "Check the path."):
        found = sorted(Path(videos).glob("seed[0-9]*"), key=lambda path: (len(path.name), path.name))
    if len(found) != check(Few, seeds, "arguments", "seeds"):
        problem = f"are {len(found)} ({', '.join(path.name for path in found) or 'none'}), not {seeds}"
        remedy = "Film each seed into a folder of its own: pisa generate MODEL DATA VIDEOS/seed0 --seed 0, and so on."
        raise InputError(videos, "seeds", problem, remedy)
    return found


def evaluate_folder(data, videos, fps: float | None = None, workers: int = 2, tracker=TRACKER) -> Report:
    """Tracks and scores one folder of videos; arguments as of `pisa evaluate`."""
    truths = read_prepared(data)
    found, lacking = read_videos(videos, truths, fps)
    missing = {name for name, _ in lacking}
    result = evaluate_videos([one for one in truths if one.name not in missing], found, workers, tracker)
    return Report(result.table, [*result.failures, *lacking])


def evaluate_seeds(data, videos, seeds: int, fps: float | None = None, workers: int = 2, tracker=TRACKER) -> SeedReport:
    """The same for the folders seed0, seed1, ...; the table has "seed" and "video", failures begin with the folder."""
    tables, failures = [], []
    for number, folder in enumerate(seed_folders(videos, seeds)):
        report = evaluate_folder(data, folder, fps, workers, tracker)
        tables.append(report.table.assign(seed=number, video=f"videos/{folder.name}/" + report.table["name"]))
        failures += [(f"{folder.name}/{name}", reason) for name, reason in report.failures]
    return SeedReport(pd.concat(tables, ignore_index=True), failures)
