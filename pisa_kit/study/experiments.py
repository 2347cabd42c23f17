"""What every experiment does: film with several methods and seeds, track, score, and put it in one table."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
from diffusers import DiffusionPipeline

from pisa_kit.clips.clip import Clip
from pisa_kit.core.devices import device
from pisa_kit.core.parallel import run_jobs
from pisa_kit.metrics import statistics
from pisa_kit.metrics.evaluation import APPEARANCE, TRACKER, Evaluation, evaluate_videos
from pisa_kit.metrics.scoring import METRICS
from pisa_kit.perception.trackers import SAM2, load_sam2
from pisa_kit.sim import references
from pisa_kit.study.run import RECOMMENDED, Run
from pisa_kit.study.settings import AMBIGUOUS

ERRORS = ("l2", "chamfer_distance", "fixed_l2", "fixed_chamfer_distance")  # what a skill is given for


@dataclass(frozen=True)
class Scores:
    """Judged videos.

    Args:
        table: a row per video: "method", "split", "seed", and what `evaluation.Evaluation.table` holds.
        videos: (method, split, seed) to the videos with tracked masks.
        failures: (where, clip, reason) of what could not be scored.
    """

    table: pd.DataFrame
    videos: dict[tuple[str, str, int], list[Clip]]
    failures: list[tuple[str, str, str]]

    def __str__(self) -> str:
        total = sum(map(len, self.videos.values()))
        lines = [f"scored {len(self.table)} of {total} videos"]
        return "\n".join([*lines, *(f"failed: {where}: {clip}: {reason}" for where, clip, reason in self.failures)])

    def values(self, method: str, split: str, column: str):
        """(S, N): a column by seed and clip."""
        rows = self.table[(self.table["method"] == method) & (self.table["split"] == split)]
        names = dict.fromkeys(self.table.loc[self.table["split"] == split, "name"])
        return statistics.matrix(rows, column, names)

    def summary(self, columns=(*METRICS, *APPEARANCE), by=("method", "split")) -> pd.DataFrame:
        """Means with intervals over clips and seeds, see `statistics.summarise`."""
        return statistics.summarise(self.table, list(columns), list(by))

    def reductions(self, before: str, columns=ERRORS) -> pd.DataFrame:
        """By which share each error of each other method is lower than that of `before`, clip by clip."""
        rows = []
        for method, split in self.table[["method", "split"]].drop_duplicates().itertuples(index=False):
            for column in columns if method != before else ():
                pair = (self.values(each, split, column) for each in (before, method))
                rows.append({"method": method, "split": split, "metric": column} | statistics.reduction(*pair))
        return pd.DataFrame(rows)

    def skills(self, base: str = "base", guess: str = "best guess", columns=ERRORS) -> pd.DataFrame:
        """Where each method's error lies between the base's (0) and the best guess's (1), see `statistics.skill`."""
        rows = []
        for method, split in self.table[["method", "split"]].drop_duplicates().itertuples(index=False):
            for column in columns:
                found = statistics.skill(*(self.values(each, split, column) for each in (base, guess, method)))
                rows.append({"method": method, "split": split, "metric": column} | found)
        return pd.DataFrame(rows)


def score(
    run: Run, methods, sets: dict[str, list[Clip]], seeds: list[int], label: str = "videos", tracker: str = TRACKER
) -> Scores:
    """Films every set of clips with every method, tracks the object and measures it; films and models are kept.

    Args:
        run: where artefacts are.
        methods: names of models (`Run.model`) and references, or a dict from a label to a function from seed to model.
        sets: split to its true clips.
        seeds: of trainings and noise; references in which nothing is random have the first alone.
        label: of the progress bar.
        tracker: see `trackers.track_clips`.
    """
    if not isinstance(methods, dict):
        train(run, methods, seeds)
        methods = {name: _maker(run, name) for name in methods}
    sets = {split: [replace(truth, depth=None, flow=None) for truth in truths] for split, truths in sets.items()}
    jobs = []
    for name, make in methods.items():
        known = name in references.names()
        for seed in seeds if not known or name == "ideal" else seeds[:1]:
            made = {split: run.reference(name, truths, seed) for split, truths in sets.items() if known}
            jobs.append((run, name, seed, make, sets, made, tracker))
    table, videos, failures = [], {}, []
    for (_, name, seed, *_), verdicts in zip(jobs, run_jobs(_judged, jobs, label), strict=True):
        for split, verdict in verdicts.items():
            table.append(verdict.table.assign(method=name, split=split, seed=seed))
            videos[name, split, seed] = verdict.videos
            failures += [(f"{name}, {split}, seed {seed}", *failure) for failure in verdict.failures]
    return Scores(pd.concat(table, ignore_index=True), videos, failures)


def train(run: Run, methods, seeds: list[int]):
    """Trains those of the named models that are not there yet: two at a time, PSFT before what starts from it."""
    trained = [name for name in methods if name not in (*references.names(), "base", RECOMMENDED)]
    for name in trained:
        for seed in seeds:
            run.prepare(name, seed)  # simulated here: a worker has no workers of its own
    starts = {"PSFT": {"PSFT", *run.preset.oro.rewards}, AMBIGUOUS[0]: set(AMBIGUOUS)}  # and what starts from them
    first = [(name, seed) for name, users in starts.items() for seed in seeds if users & set(trained)]
    for jobs in (first, [(name, seed) for name in trained for seed in seeds if name not in starts]):
        run_jobs(_train, [(run, *job) for job in jobs], "training")


def _train(run: Run, method: str, seed: int):
    run.model(method, seed)


def _maker(run: Run, method: str) -> Callable[[int], DiffusionPipeline]:
    return lambda seed: run.model(method, seed)


def _judged(
    run: Run, name: str, seed: int, make: Callable, sets: dict, made: dict, tracker: str
) -> dict[str, Evaluation]:
    if not made:
        model = make(seed)
        made = {split: run.generate(model, truths, seed) for split, truths in sets.items()}
    look = load_sam2(run.preset.sam2 or SAM2, str(device())) if tracker == "sam2" else tracker
    return {split: evaluate_videos(truths, made[split], 1, look) for split, truths in sets.items()}
