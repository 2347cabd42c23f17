"""A submission: several seeds of one model, and a card with which anybody can check that the numbers are theirs.

It is a folder: card.json, card.md, the videos, and scores.csv with each video's path (without its ending) beside its
score. It is whole or refused: every clip of the benchmark, every seed, the very videos that were scored.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field
from typing_extensions import TypedDict

import pisa_kit
from pisa_kit.clips.clip import Clip
from pisa_kit.clips.formats import Location, find_clips
from pisa_kit.core.checks import Count, Few, Finite, Fps, Frames, Seed, Side, Text, check
from pisa_kit.core.errors import InputError
from pisa_kit.core.storage import atomic_folder, disk, parsed, read_json, write_json
from pisa_kit.perception.prepare import read_prepared
from pisa_kit.study.seeds import SeedReport, evaluate_seeds, seed_folders

TOLERANCE = 1e-3  # by which means may differ when they are computed again on another machine
NUMBERS = ["mean", "std", "low", "high"]  # that a card holds of each metric


class Protocol(TypedDict):
    """How the videos were made: what `generate` writes as manifest.json, without the seed."""

    model: Text
    revision: Text
    template: Text
    size: Side
    frames: Frames
    fps: Fps
    steps: Few
    guidance: Finite


class Card(TypedDict):
    """A submission in numbers; `videos` holds a hash per "seed0/clip", `clips` one of the benchmark's clips."""

    kit: Text
    protocol: Protocol
    tracker: Text
    seeds: list[Seed]
    scored: Count
    total: Count
    clips: Text
    summary: dict[str, dict[str, Finite | None]]
    videos: dict[str, Text] = Field(min_length=1)


def read_protocol(folders: list[Path]) -> tuple[dict, list[int]]:
    """What the seeds' manifests agree on, and their seeds.

    Raises:
        InputError: no manifest, one that lacks something, seeds that were made in different ways or twice.
    """
    found, kinds = [], Protocol.__annotations__
    for folder in folders:
        remedy = f"Videos made elsewhere need one: {', '.join(kinds)}, seed."
        with disk(folder / "manifest.json", "file", remedy):
            manifest = {"template": "{caption}"} | check(dict, read_json(folder / "manifest.json"), folder)
        check(Protocol, {key: manifest[key] for key in kinds if key in manifest}, folder / "manifest.json", "", remedy)
        found.append(({key: manifest[key] for key in kinds}, check(Seed, manifest.get("seed"), folder, "seed", remedy)))
    protocols, seeds = zip(*found, strict=True)
    differs = sorted({key for one in protocols for key in kinds if one[key] != protocols[0][key]})
    if differs or len(set(seeds)) < len(seeds):
        field, problem = (", ".join(differs), "differ between seeds") if differs else ("seeds", f"repeat: {seeds}")
        raise InputError(folders[0].parent, field, problem, "Film all seeds in the same way, each with its own seed.")
    return protocols[0], list(seeds)


def check_before(out, videos, seeds: int) -> None:
    """Refuses what `write_submission` would refuse, as far as it can be seen before hours of scoring.

    Raises:
        InputError: another number of seeds, no manifest, one made in another way, or `out` exists.
    """
    read_protocol(seed_folders(videos, seeds))
    if Path(out).exists():
        raise InputError(out, "folder", "exists", "Choose another folder: a submission is written once.")


def write_submission(out, report: SeedReport, data, videos, tracker: str) -> Path:
    """Writes a submission's folder, whole or not at all.

    Raises:
        InputError: a video is missing or could not be scored, two seeds have the same video of a clip, no manifest, or
            `out` exists.
    """
    folders = seed_folders(videos, report.table["seed"].nunique())
    protocol, seeds = read_protocol(folders)
    if report.failures:
        name, reason = report.failures[0]
        problem = f"{reason} ({len(report.failures)} of {report.total} fail)"
        raise InputError(videos, name, problem, "A submission is whole: make this video.")
    truths = read_prepared(data)
    located = {f"{folder.name}/{one.name}": one for folder in folders for one in find_clips(folder)}
    wanted = [f"{folder.name}/{one.name}" for folder in folders for one in truths]
    hashes = {name: content_hash(located[name]) for name in wanted}
    for one in truths:
        each = [hashes[f"{folder.name}/{one.name}"] for folder in folders]
        if len(set(each)) < len(each):
            raise InputError(videos, one.name, "has the same video in two seeds", "Film each with a seed of its own.")
    summary = report.summary()[NUMBERS].astype(object)
    summary = summary.where(summary.notna(), None).to_dict("index")
    card = {"kit": pisa_kit.__version__, "protocol": protocol, "tracker": tracker, "seeds": seeds}
    card |= {"scored": report.scored, "total": report.total, "clips": clips_hash(truths)}
    card |= {"summary": summary, "videos": hashes}
    with atomic_folder(out) as temporary:
        for name in wanted:
            _copy(located[name], temporary / "videos" / name)
        for folder in folders:
            write_json(temporary / "videos" / folder.name / "manifest.json", read_json(folder / "manifest.json"))
        report.table.to_csv(temporary / "scores.csv", index=False)
        write_json(temporary / "card.json", card)
        (temporary / "card.md").write_text("\n".join(as_markdown(card)) + "\n", encoding="utf-8")
    return Path(out)


def check_submission(card, data, videos, workers: int = 2, tracker=None) -> list[str]:
    """What is wrong with a submission, a line each; an empty list if its card is right.

    Names every missing, additional or changed video, another benchmark and another number of seeds; only if there is
    none of that, the videos are scored again and the numbers compared, those of scores.csv beside the card, too.

    Args:
        card: card.json.
        data: the benchmark's clips, made ready by `pisa prepare`.
        videos: the submission's videos, of which seed0, seed1, ... are the folders.
        tracker: a tracker that is loaded, instead of the card's.
    """
    found: Card = check(Card, read_json(card), card, remedy="Write it with `pisa evaluate --submit`.")
    truths, seeds = read_prepared(data), found["seeds"]
    there = sorted(path.name for path in Path(videos).glob("seed[0-9]*"))
    wrong = [] if len(there) == len(seeds) else [f"seeds: the card has {len(seeds)}, the folder {len(there)}"]
    if found["clips"] != clips_hash(truths):
        wrong.append(f"{data}: clips: are not those of the card")
    named = dict.fromkeys([*found["videos"], *(f"{seed}/{one.name}" for seed in there for one in truths)])
    located = {f"{seed}/{one.name}": one for seed in there for one in find_clips(Path(videos) / seed)}
    for name in named:
        if name not in found["videos"] or name not in located:
            wrong.append(f"{name}: is not in the {'card' if name in located else 'folder'}")
        elif content_hash(located[name]) != found["videos"][name]:
            wrong.append(f"{name}: is not the video that was scored")
    if not len(named) == found["scored"] == found["total"] == len(truths) * len(seeds):
        wrong.append(f"scored: {found['scored']} of {found['total']}, not {len(truths) * len(seeds)}")
    if wrong:
        return wrong
    if (protocol := read_protocol(seed_folders(videos, len(seeds)))) != (found["protocol"], seeds):
        return [f"protocol: the videos' manifests say {protocol[0]}, seeds {protocol[1]}"]
    again = evaluate_seeds(data, videos, len(seeds), found["protocol"]["fps"], workers, tracker or found["tracker"])
    wrong += _differs(found["summary"], again, "the card")
    beside = Path(card).parent
    if (beside / "scores.csv").exists():
        with parsed(beside / "scores.csv", "file", "cannot be read", "Write it with `pisa evaluate --submit`."):
            scores = SeedReport(pd.read_csv(beside / "scores.csv", dtype={"name": str}), []).summary()
        wrong += _differs(scores.to_dict("index"), again, "scores.csv")
    return wrong + [f"{name}: {reason}" for name, reason in again.failures]


def _differs(said: dict[str, dict], again: SeedReport, where: str) -> list[str]:
    """Which of `NUMBERS` of a metric are not those of the videos, a line each."""
    wrong = []
    for metric, row in again.summary()[NUMBERS].astype(float).iterrows():
        numbers = pd.Series({name: said.get(metric, {}).get(name) for name in NUMBERS}, dtype=float)
        far = ~np.isclose(row, numbers, atol=TOLERANCE, rtol=0, equal_nan=True)
        for name in row.index[far]:
            wrong.append(f"{metric}: {name}: {where} says {numbers[name]:.4f}, the videos {row[name]:.4f}")
    return wrong


def content_hash(location: Location) -> str:
    """SHA-256 of a video's file, or of all files of its folder in order of their names."""
    names = [location.file] if location.file else location.folder.list()[0]
    digest = hashlib.sha256()
    for name in names:
        digest.update(location.folder.read(name).read())
    return digest.hexdigest()


def clips_hash(truths: list[Clip]) -> str:
    """SHA-256 of a benchmark: names, frame rates, frames and masks of its clips."""
    digest = hashlib.sha256()
    for clip in truths:
        digest.update(f"{clip.name} {clip.fps} {clip.frames.shape}".encode())
        digest.update(clip.frames.tobytes() + np.packbits(clip.dropped).tobytes())
    return digest.hexdigest()


def _copy(location: Location, path: Path):
    if location.file:
        path = path.parent / location.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(location.folder.read(location.file).read())
        return
    path.mkdir(parents=True)
    for name in location.folder.list()[0]:
        (path / name).write_bytes(location.folder.read(name).read())


def as_markdown(card: Card) -> list[str]:
    """The lines of card.md."""
    lines = [f"# {card['protocol']['model']}", "", f"Scored {card['scored']} of {card['total']} videos, seeds "]
    lines[-1] += f"{', '.join(map(str, card['seeds']))}; tracker {card['tracker']}; pisa_kit {card['kit']}."
    lines += ["", "| metric | mean | std over seeds | 95 % over clips |", "|---|---|---|---|"]
    for metric, row in card["summary"].items():
        mean, std, low, high = ("-" if value is None else f"{value:.4f}" for value in map(row.get, NUMBERS))
        lines.append(f"| {metric} | {mean} | {std} | {low} to {high} |")
    lines += ["", *(f"* {name}: `{value}`" for name, value in card["protocol"].items())]
    return [*lines, "", "Check it: `pisa evaluate DATA videos --check card.json`"]
