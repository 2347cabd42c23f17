"""Click to track: a phone or real clip as a widget, from a click on the object to g and a saved clip."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import anywidget
import numpy as np
import traitlets
from pydantic import Field

from pisa_kit.clips.clip import Clip, check_fps
from pisa_kit.clips.formats import write_clip
from pisa_kit.clips.media import encode_image, read_video
from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError
from pisa_kit.metrics.fall_time import track as centres
from pisa_kit.metrics.gravity import fit_scaled
from pisa_kit.perception.footage import follow, read_footage
from pisa_kit.viz import figures
from pisa_kit.viz.player import STYLE, _plain

DRAWS = 100  # of the bootstrap behind an interval


class FootageTracker(anywidget.AnyWidget):
    """See `widgets.track_footage`. Points, ends and tracks are pixels of the frames that are shown.

    Attributes:
        clip: the footage, not yet cut.
        track: the object in it, None before the first tracking.
        fall: `gravity.ScaledFall`, None before scale and track are there; its frame 0 is `release`.
    """

    _esm = Path(__file__).with_name("tracker.js")
    _css = STYLE
    frames = traitlets.List().tag(sync=True)
    size = traitlets.List().tag(sync=True)
    fps = traitlets.Float().tag(sync=True)
    points = traitlets.List().tag(sync=True)  # [frame, x, y], the object there
    ends = traitlets.List().tag(sync=True)  # [x, y] twice, `metres` apart
    metres = traitlets.Float().tag(sync=True)
    release = traitlets.Int().tag(sync=True)
    tilted = traitlets.Bool().tag(sync=True)
    order = traitlets.Dict().tag(sync=True)  # {"do": "track"} or {"do": "save", "to": folder}
    found = traitlets.Dict().tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)

    def __init__(self, clip: Clip, **marks):
        frame = Annotated[int, Field(strict=True, ge=0, lt=len(clip))]
        check(frame, marks.get("release", 0), "track_footage", "release", "Name a frame of the clip.")
        self.clip, self.track, self.fall = clip, None, None
        height, width = clip.frames.shape[1:3]
        shown = [encode_image(frame) for frame in clip.frames]
        super().__init__(frames=shown, size=[width, height], fps=clip.fps, **marks)
        self.observe(lambda _: self._attempt(self._measure), ["fps", "ends", "metres", "release", "tilted"])
        self.observe(lambda change: self._attempt(self._obey, change["new"]), "order")
        self.observe(lambda change: change["new"] or self._forget(), "points")
        if self.points:
            self._obey({"do": "track"})

    def _attempt(self, act, *given):
        """What goes wrong is said in the widget."""
        self.message = "working ..."  # so that the same answer as before is told, too
        try:
            act(*given)
        except InputError as error:
            self.message = str(error)

    def _obey(self, order: dict):
        if order["do"] == "save":
            self.message = f"saved in {self.save(order['to'])}"
        else:
            self._forget()
            self.track = follow(self.clip.frames, {int(frame): (x, y) for frame, x, y in self.points})
            self._measure()

    def _forget(self):
        self.track, self.fall, self.found = None, None, {}

    def _measure(self):
        """Reads g from the track and tells the browser."""
        if self.track is None:
            self.message = ""
            return
        self.fall, times = None, np.arange(len(self.clip)) / check_fps(self.fps, "track_footage")
        x, y = centres(self.track.masks).T
        tracked = min((int(frame) for frame, *_ in self.points), default=0)
        lost = [int(frame) for frame in self.track.lost.nonzero()[0] if frame >= tracked]
        found = {"x": x, "y": y, "lost": lost}
        text = f"found in {len(self.clip) - tracked - len(lost)} of {len(self.clip) - tracked} frames"
        try:
            if len(self.ends) == 2:
                self.fall = fall = fit_scaled(y[self.release :], self.fps, self.ends, self.metres, self.tilted, DRAWS)
                used = slice(self.release, self.release + fall.frames)
                curve = np.stack([times[used], fall.height(times[used] - self.release / self.fps)], 1)
                found |= {"g": fall.gravity, "interval": fall.gravity_interval, "fit": curve}
            else:
                text += "; mark the two ends of a scale to read g"
        finally:
            self.found = _plain(found)
        self.message = text

    def save(self, folder) -> Path:
        """Writes the clip from the release on, with masks, in PisaBench's real layout, as `pisa import` does.

        Raises:
            InputError: nothing was tracked, or the object is lost at the release.
        """
        if self.track is None or self.track.lost[self.release]:
            raise InputError("track_footage", "release", "shows no tracked object", "Track first; correct it there.")
        masks = self.track.masks[self.release :]
        start = centres(masks[:1])[0].tolist()
        lost = [int(frame) for frame in (~masks.any((1, 2))).nonzero()[0]]
        info = {"points": [{"positive": [start], "negative": []}], "lost": lost}
        info["source"] = self.clip.info.get("source", {}) | {"release": self.release}
        if self.fall:
            info["gravity"] = {"value": self.fall.gravity, "interval": list(self.fall.gravity_interval)}
        cut = replace(self.clip, frames=self.clip.frames[self.release :], fps=self.fps, masks=masks[:, None], info=info)
        return write_clip(replace(cut, name=Path(folder).name), folder, "real")

    def still(self) -> figures.Figure:
        """What was measured, as a figure."""
        times, y = np.arange(len(self.clip)) / self.fps, np.full(len(self.clip), np.nan)
        if self.track is not None:
            y = centres(self.track.masks)[:, 1]
        curve, title = np.zeros((0, 2)), self.message
        if self.fall:
            curve = np.array(self.found["fit"])
            low, high = self.fall.gravity_interval
            title = f"g = {self.fall.gravity:.2f} m/s² [{low:.2f}, {high:.2f}]"
        misfit = y[self.release : self.release + len(curve)] - curve[:, 1]
        return figures.measured_fall(times, y, *curve.T, None, misfit, title)

    def _repr_mimebundle_(self, **options):
        """The widget, and a still picture for viewers that show none."""
        bundle = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["image/png"] = base64.b64encode(figures.png(self.still())).decode()
        return bundle


def open_footage(video, fps, longest: int, rotate=None, start=0, end=None) -> tuple[Clip, float]:
    """A video file or frames (T, H, W, 3) uint8 as a clip, and its pixels per pixel of the video."""
    if isinstance(video, np.ndarray):
        for name, given in {"rotate": rotate, "start": start or None, "end": end}.items():
            check(None, given, "track_footage", name, "It is for files: cut or turn the array.")
        return Clip(video, check_fps(fps, "track_footage")), 1.0
    frames, source, scale = read_footage(video, rotate, start, end, longest)
    rate = read_video(video, 0, 1)[1] if fps is None else fps
    name = Path(video).stem
    return Clip(np.ascontiguousarray(frames), check_fps(rate, video), name=name, info={"source": source}), scale
