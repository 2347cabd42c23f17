"""Where a study's artefacts live, and the notebooks run in order with papermill."""

import hashlib
import inspect
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
from diffusers import WanImageToVideoPipeline
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from pisa_kit import motion, references
from pisa_kit.clips import Clip
from pisa_kit.corpora import corpus, read_corpus
from pisa_kit.dataset import Recipe, read_dataset, simulator_version, write_dataset
from pisa_kit.embedded import load
from pisa_kit.files import InputError, atomic_path, read_json, write_json
from pisa_kit.generators import Protocol, generate, revision
from pisa_kit.layouts import read_clip, write_clip
from pisa_kit.parallel import WORKERS
from pisa_kit.presets import Preset, get_preset
from pisa_kit.psft import cache_latents, train_transformer
from pisa_kit.scenes import Scene, sample
from pisa_kit.simulate import simulate

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
FIGURES = ROOT / "figures"  # what README shows: written by the full preset only
TRAINING_SEEDS = 100_000  # scene seeds per seed of a run; 10 of them stay below those of the pre-training corpora


@dataclass(frozen=True)
class Run:
    """One preset's artefacts below `folder`: data, models, videos, notebooks, figures, results, results.json."""

    preset: Preset
    folder: Path

    def held_out(self, split: str) -> list[Clip]:
        """The held-out drops of one split ("seen" or "unseen": objects and backgrounds), simulated once and kept."""
        preset = self.preset
        offset = {"seen": 0, "unseen": 1_000_000}[split]
        recipe = Recipe(
            preset.test_clips, preset.test_seed + offset, split, split, video=preset.video, ranges=preset.ranges
        )
        return read_dataset(write_dataset(self.folder / "data" / f"held_out_{split}_{recipe.key}", recipe, WORKERS))

    def reference(self, method: str, truths: list[Clip], seed: int) -> list[Clip]:
        """Videos of one reference predictor (see `references.REFERENCES`) for each true clip, made once and kept.

        Like any generator's output they come as frames alone: masks have to be tracked (`masks.track_clips`).
        """
        source = "".join([*(json.dumps(truth.info["scene"]) for truth in truths), inspect.getsource(references)])
        key = _key(source, self.preset.ranges, simulator_version())
        folder = self.folder / "videos" / method.replace(" ", "_") / f"seed{seed}_{key}"
        paths = [folder / f"{truth.name}.npz" for truth in truths]
        missing = [(truth, path) for truth, path in zip(truths, paths, strict=True) if not path.exists()]
        jobs = (delayed(_film_reference)(method, truth, seed, self.preset, path) for truth, path in missing)
        films = Parallel(n_jobs=WORKERS, return_as="generator")(jobs)
        list(tqdm(films, total=len(missing), desc=method, unit="clip", disable=not missing))
        return [read_clip(path) for path in paths]

    def generic(self) -> list[Clip]:
        """Held-out clips of generic motion (`motion.sample_motion`), simulated once and kept."""
        preset, ranges = self.preset, self.preset.ranges
        key = _key(preset.video, ranges, simulator_version(), inspect.getsource(motion))
        folder = self.folder / "data" / f"generic_{key}"
        seeds = [preset.test_seed + 2_000_000 + index for index in range(preset.generic_clips)]
        paths = [folder / f"{seed}.npz" for seed in seeds]
        jobs = (delayed(_film_motion)(seed, preset, path) for seed, path in zip(seeds, paths, strict=True))
        Parallel(n_jobs=WORKERS)(jobs)
        return [read_clip(path) for path in paths]

    def base(self) -> WanImageToVideoPipeline:
        """The image-to-video model before post-training: the embedded one unless the preset names another."""
        return load(self.preset.base) if self.preset.base else load()

    def drops(self, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """PSFT's training drops for one seed, simulated once and kept: frames, masks, captions (`read_corpus`)."""
        return read_corpus(self._drops_folder(seed))

    def _drops_folder(self, seed: int) -> Path:
        count, ranges = self.preset.psft_clips, self.preset.ranges
        folder = self.folder / "data" / f"drops_{count}_seed{seed}_{_key(ranges, simulator_version())}"
        return corpus(folder, count, 1.0, 0.0, TRAINING_SEEDS * seed, ranges, WORKERS)

    def psft(self, clips: int, steps: int, seed: int, watch=None) -> WanImageToVideoPipeline:
        """The base after `steps` steps of PSFT on the first `clips` drops, trained once and kept.

        Ask for fewer steps before more: a longer run continues the shorter one.

        Args:
            watch: see `training.train`.
        """
        settings = replace(self.preset.psft, steps=steps, seed=seed)
        folder, base = self.psft_folder(clips, seed), self.base()
        drops = self._drops_folder(seed)
        path = drops.with_name(f"{drops.name}_latents_{revision(base.vae)}.npz")
        cached = cache_latents(base, *((None, None) if path.exists() else self.drops(seed)[::2]), path)
        cached = {name: array[:clips] for name, array in cached.items()}
        return train_transformer(base, cached, settings, folder, f"PSFT on {clips} clips", watch)

    def psft_folder(self, clips: int, seed: int) -> Path:
        """Where `psft` keeps a run's log, checkpoint and pipelines."""
        base, settings = self.base(), replace(self.preset.psft, steps=1, seed=seed)
        key = _key(settings, revision(base.transformer), revision(base.vae), self._drops_folder(seed).name)
        return self.folder / "models" / f"psft_{clips}_clips_seed{seed}_{key}"

    def film(self, pipeline: WanImageToVideoPipeline, label: str, truths: list[Clip], seed: int) -> list[Clip]:
        """A video by the pipeline for each true clip's first frame and caption, made once and kept."""
        weights = f"{revision(pipeline.transformer)}{revision(pipeline.vae)}"
        protocol = Protocol(label, weights, self.preset.sampling_steps, **asdict(self.preset.video))
        key = _key(asdict(protocol), [truth.name for truth in truths], [truth.info["scene"] for truth in truths])
        return generate(pipeline, protocol, truths, seed, self.folder / "videos" / label / f"seed{seed}_{key}")

    def save_figure(self, figure, name: str):
        """Writes the figure as figures/<name>.png and returns it, so that the notebook shows it too."""
        path = self.folder / "figures" / f"{name}.png"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110)
        return figure

    def save_results(self, notebook: str, results: dict) -> Path:
        """Writes a notebook's numbers as results/<notebook>.json (numpy values allowed, NaN becomes null)."""
        path = self.folder / "results" / f"{notebook}.json"
        write_json(path, _plain(results))
        return path

    def results(self, notebook: str) -> dict:
        """What an earlier notebook saved."""
        return read_json(self.folder / "results" / f"{notebook}.json")


def _film_motion(seed: int, preset: Preset, path: Path):
    if path.exists():
        return
    video, scene = preset.video, sample(seed, preset.ranges, "seen", "seen")
    path_of_object = motion.sample_motion(scene, seed, (video.frames - 1) / video.fps)
    write_clip(simulate(scene, **asdict(video), name=path.stem, motion=path_of_object), path)


def _key(*parts) -> str:
    """A short name for everything that shapes an artefact."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _film_reference(method: str, truth: Clip, seed: int, preset: Preset, path: Path):
    scene = Scene.from_dict(truth.info["scene"], truth.name)
    clip = references.REFERENCES[method](scene, seed, preset.ranges, **asdict(preset.video))
    frames_only = Clip(clip.frames, clip.fps, caption=clip.caption, name=truth.name, info={"method": method})
    write_clip(frames_only, path)


def open_run(preset: str, runs="runs") -> Run:
    """The run of a preset below the folder `runs`; an unknown preset raises InputError."""
    return Run(get_preset(preset), Path(runs) / preset)


def _plain(value):
    """Numpy and NaN to what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


class NotebookError(RuntimeError):
    """A notebook failed: names it, the cell and the error."""


def notebooks() -> list[Path]:
    """The study's notebooks in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def run_study(
    preset: str, runs="runs", only: str | None = None, fresh: bool = False, say: Callable[[str], None] = print
) -> Path:
    """Runs the notebooks in order into runs/<preset>/ and collects results.json; finished notebooks are kept.

    Args:
        preset: a name in `presets.PRESETS`.
        runs: folder for artefacts.
        only: run only notebooks whose name starts with this, e.g. "01".
        fresh: forget finished notebooks, simulated clips, trained models and videos, and start anew.
        say: receives the progress lines.

    Raises:
        InputError: unknown preset or no such notebook.
        NotebookError: a cell failed; notebooks done before it are kept and the next call continues.
    """
    run = open_run(preset, Path(runs).resolve())
    chosen = [path for path in notebooks() if path.stem.startswith(only or "")]
    if not chosen:
        known = ", ".join(path.stem for path in notebooks())
        raise InputError("arguments", "only", f"{only!r} matches no notebook", f"Choose the start of one of: {known}.")
    if fresh:
        for name in ("data", "models", "videos"):
            shutil.rmtree(run.folder / name, ignore_errors=True)
    for number, path in enumerate(chosen, start=1):
        where = f"[{number}/{len(chosen)}] {path.stem}"
        key = _fingerprint(path, run.preset)
        if not fresh and _finished(run, path.stem) == key:
            say(f"{where}: done before")
            continue
        say(f"{where}: running ...")
        seconds = _execute(path, run)
        _record(run, path.stem, key, seconds)
        say(f"{where}: {seconds:.0f} s")
    return run.folder / "results.json"


def _fingerprint(path: Path, preset: Preset) -> str:
    """Changes with the notebook's code, the preset's numbers and the package's code."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    package = [source.read_text(encoding="utf-8") for source in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(json.dumps([code, asdict(preset), package]).encode()).hexdigest()[:16]


def _finished(run: Run, notebook: str) -> str | None:
    path = run.folder / "results.json"
    return read_json(path).get(notebook, {}).get("fingerprint") if path.exists() else None


def _execute(path: Path, run: Run) -> float:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    output = run.folder / "notebooks" / path.name
    output.parent.mkdir(parents=True, exist_ok=True)
    parameters = {"PRESET": run.preset.name, "RUNS": str(run.folder.parent)}
    options = {"cwd": str(path.parent), "progress_bar": False, "extra_arguments": ["--IPKernelApp.log_level=ERROR"]}
    start = time.monotonic()
    try:
        papermill.execute_notebook(path, output, parameters, **options)
    except PapermillExecutionError as error:
        last = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)).strip().splitlines()[-12:]
        where = f"{path.name}, cell {error.cell_index + 1} of the executed copy {output}"
        raise NotebookError("\n".join([f"{where}: {error.ename}: {error.evalue}", *last])) from error
    return time.monotonic() - start


def _record(run: Run, notebook: str, fingerprint: str, seconds: float):
    """Adds the notebook's numbers to results.json; the full preset also publishes them and the figures."""
    path = run.folder / "results.json"
    collected = read_json(path) if path.exists() else {}
    entry = {"fingerprint": fingerprint, "date": date.today().isoformat(), "seconds": round(seconds, 1)}
    collected[notebook] = entry | {"results": run.results(notebook)}
    write_json(path, dict(sorted(collected.items())))
    if run.preset.name == "full":
        for figure in sorted((run.folder / "figures").glob(f"{notebook[:2]}_*.png")):
            with atomic_path(FIGURES / figure.name) as temporary:
                shutil.copyfile(figure, temporary)
        write_json(FIGURES / "results.json", read_json(path))
