"""The paper's own columns: models of a run on PisaBench's clips, real and simulated, and Table 1 beside ours."""

from dataclasses import dataclass

import pandas as pd

from pisa_kit.clips.clip import Clip
from pisa_kit.metrics.failures import LABELS
from pisa_kit.metrics.scoring import METRICS, published
from pisa_kit.study.experiments import Scores, score
from pisa_kit.study.report import OFFICIAL
from pisa_kit.study.run import Run

COLUMNS = (*METRICS, *LABELS)


@dataclass(frozen=True)
class Bench:
    """What a run's models make of the bench's clips.

    Args:
        scores: of `experiments.score`; "split" is "real", "sim seen", "sim unseen" or "sim".
        sets: split to its true clips.
    """

    scores: Scores
    sets: dict[str, list[Clip]]

    def summary(self) -> pd.DataFrame:
        """Means with intervals of all metrics, and of the failure labels as shares of the videos."""
        return self.scores.summary(COLUMNS)

    def lost(self) -> pd.DataFrame:
        """Frames without the object: per method and split "frames", "lost", and "lost in the truth" itself."""
        rows = []
        for (method, split, _), videos in self.scores.videos.items():
            row = {"method": method, "split": split, "frames": sum(map(len, videos)), "lost": _lost(videos)}
            rows.append(row | {"lost in the truth": _lost(self.sets[split])})
        return pd.DataFrame(rows).groupby(["method", "split"], sort=False).sum().reset_index()

    def failures(self) -> pd.DataFrame:
        """The videos with a label: "method", "split", "seed", "name", and "label", several joined by commas."""
        table = self.scores.table
        said = table[list(LABELS)].eq(1).apply(lambda row: ", ".join(row.index[row]), axis=1)
        return table.assign(label=said)[["method", "split", "seed", "name", "label"]][said != ""]


def _lost(clips: list[Clip]) -> int:
    return sum(int((~clip.dropped.any((1, 2))).sum()) for clip in clips)


def split_of(clip: Clip) -> str:
    """Real clips have annotated points; simulated ones say in their path what training has seen."""
    parts = clip.name.split("/")
    seen = next((f" {word}" for word in ("unseen", "seen") if any(word in part for part in parts)), "")
    return "real" if "points" in clip.info else f"sim{seen}"


def score_bench(run: Run, methods, seeds: list[int]) -> Bench | None:
    """Films and scores the clips of `Preset.bench` through its tracker; None without a bench.

    Args:
        methods: "base", "PSFT", rewards; "truth" for the tracker's own error, "codec" for the autoencoder's.
    """
    sets = {}
    for clip in run.bench():
        sets.setdefault(split_of(clip), []).append(clip)
    return Bench(score(run, methods, sets, seeds, "bench", run.preset.bench_tracker), sets) if sets else None


def bench_table(results: dict[str, dict]) -> pd.DataFrame:
    """Table 1 with all its columns: this run's models on the bench above the published rows; official metrics.

    Args:
        results: notebook name to what it saved; "bench" of 01, 02 and 03 is used.
    """
    paper = published().drop(columns="group")
    columns = {f"{split} {short}": f"{split.replace(' ', '_')}_{short.lower()}" for split, short in _pairs()}
    ours = {}
    for row in _rows(results):
        if row["metric"] in OFFICIAL and row["mean"] is not None:
            cells = ours.setdefault(row["method"], {"method": f"ours: {row['method']}"})
            cells[f"{row['split']} {OFFICIAL[row['metric']]}"] = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**row)
    theirs = pd.DataFrame({name: paper[column].map("{:.3f}".format) for name, column in columns.items()})
    theirs.insert(0, "method", "paper: " + paper["method"])
    rows = [{column: cells.get(column, "-") for column in theirs} for cells in ours.values()]
    return pd.concat([pd.DataFrame(rows, columns=theirs.columns), theirs], ignore_index=True)


def without_column(results: dict[str, dict]) -> list[str]:
    """Splits of the bench that Table 1 has no column for: "sim" where a clip's path does not say what was seen."""
    return sorted({row["split"] for row in _rows(results)} - {split for split, _ in _pairs()})


def _rows(results: dict[str, dict]) -> list[dict]:
    notebooks = ("01_baseline_evaluation", "02_psft", "03_oro")
    return [row for name in notebooks for row in results.get(name, {}).get("bench", [])]


def _pairs():
    return [(split, short) for split in ("real", "sim seen", "sim unseen") for short in OFFICIAL.values()]
