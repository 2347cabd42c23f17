"""Bars for long work, in a notebook, in a terminal, and in the terminal of `pisa study` while a notebook runs.

`pisa study` names a folder in the environment variable `FOLDER`; every bar in any of its processes leaves a line there,
and the study's own process shows them.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm.auto import tqdm

FOLDER = "PISA_PROGRESS"
EVERY = 0.5  # seconds between two lines of one bar
STALE = 900.0  # seconds after which a bar that says nothing is no longer shown


class Bar(tqdm):
    """A `tqdm` bar that also tells the study what it is at."""

    def __init__(self, *args, **options):
        self._told, folder = 0.0, os.environ.get(FOLDER)
        self._path = Path(folder, f"{os.getpid()}_{id(self)}.json") if folder else None
        super().__init__(*args, **options)

    def update(self, n=1):
        shown = super().update(n)
        self._tell()
        return shown

    def __iter__(self) -> Iterator:
        for item in super().__iter__():
            yield item
            self._tell()

    def _tell(self):
        if self._path and not self.disable and time.monotonic() - self._told > EVERY:
            self._told, facts = time.monotonic(), self.format_dict
            elapsed, left = facts["elapsed"], (facts["total"] or 0) - facts["n"]
            line = {"what": self.desc, "done": facts["n"], "total": facts["total"], "unit": self.unit}
            line |= {"note": self.postfix or "", "left": left * elapsed / max(facts["n"] - facts["initial"], 1)}
            try:
                self._path.write_text(json.dumps(line), encoding="utf-8")
            except OSError:
                self._path = None  # the study is over

    def close(self):
        if getattr(self, "_path", None):
            self._path.unlink(missing_ok=True)
        super().close()


@contextmanager
def shown(say: Callable[[str], None], every: float = 10.0) -> Iterator[None]:
    """Inside, what bars in this process's children are at is said every few seconds, if it has changed."""
    stop = threading.Event()

    def watch(folder: Path):
        last = ""
        while not stop.wait(every):
            text = "; ".join(filter(None, map(_line, sorted(folder.glob("*.json")))))
            if text and text != last:
                say(text)
                last = text

    with TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        thread = threading.Thread(target=watch, args=(Path(folder),), daemon=True)
        thread.start()
        try:
            yield
        finally:
            os.environ.pop(FOLDER)
            stop.set()
            thread.join()


def _line(path: Path) -> str:
    """One bar in words: "psft: 120 of 400 steps, loss=0.31, 3:05 left"; nothing of one that is over or stuck."""
    try:
        if time.time() - path.stat().st_mtime > STALE:
            return ""
        line = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    note, left = f", {line['note']}" if line["note"] else "", int(line["left"])
    return f"{line['what']}: {line['done']} of {line['total']} {line['unit']}s{note}, {left // 60}:{left % 60:02d} left"
