"""The trajectory inspector as a widget that plays in the browser: what is sent to it, and the page without a kernel."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Annotated

import anywidget
import numpy as np
import traitlets
from PIL import Image
from pydantic import Field

from pisa_kit.clips.clip import Clip
from pisa_kit.core.checks import check
from pisa_kit.core.errors import InputError
from pisa_kit.metrics.fall_time import fall_time, track
from pisa_kit.metrics.gravity import describe, drop_pixels, fit_free_fall, metres_per_pixel
from pisa_kit.metrics.l2_chamfer_iou import fixed, per_frame
from pisa_kit.sim.probes import Cell
from pisa_kit.sim.settings import GRAVITY
from pisa_kit.viz import figures, inspector

SCRIPT, STYLE = (Path(__file__).with_name(f"player.{kind}") for kind in ("js", "css"))
METRICS = [
    {"key": "fixed_l2", "label": "fixed L2", "better": "low"},
    {"key": "iou", "label": "IoU", "better": "high"},
    {"key": "visibility", "label": "visibility", "better": "high"},
    {"key": "fall_time_error", "label": "fall time error", "signed": True},
]
STILL = 0.4  # moment of the still picture, as a share of the clip


class TrajectoryPlayer(anywidget.AnyWidget):
    """Truth and predictions of one or several clips, side by side and overlaid; see `widgets.inspect`.

    Everything is sent once, when the widget is shown; playing needs no kernel.

    Args:
        truths: clips with masks.
        methods: {method: one clip with masks per truth}.
        cells: of a map, one per truth; their means are shown as a heat map, whose cells are clicked.
    """

    _esm = SCRIPT
    _css = STYLE
    views = traitlets.List().tag(sync=True)
    metrics = traitlets.List(METRICS).tag(sync=True)

    def __init__(self, truths: list[Clip], methods: dict[str, list[Clip]], cells: Sequence[Cell] = ()):
        given = Annotated[dict, Field(min_length=1)]
        check(given, methods, "inspect", "predictions", "Give a Clip, a list of them, or {method: either}.")
        views = [
            clip_view(truth, {name: clips[index] for name, clips in methods.items()})
            for index, truth in enumerate(truths)
        ]
        for view, cell in zip(views, cells, strict=False):
            view["cell"] = _plain(asdict(cell))
        super().__init__(views=views)
        first = next(iter(methods))
        self._still = truths[0], methods[first][0], first

    def _repr_mimebundle_(self, **options):
        """The widget, and a still picture for viewers that show none."""
        bundle = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            view = inspector.inspect_pair(*self._still)
            picture = figures.png(inspector.inspector(view, int(STILL * len(view.time))))
            data["image/png"] = base64.b64encode(picture).decode()
        return bundle


def clip_view(truth: Clip, predictions: dict[str, Clip]) -> dict:
    """What `player.js` draws of one clip: the truth's track, then one per method.

    Raises:
        InputError: a clip without masks, or masks that cannot be compared.
    """
    true = _track_view("truth", truth, truth) | {"truth": True}
    if truth.camera is not None and truth.poses is not None:
        true["metres_per_pixel"] = metres_per_pixel(truth)
        gravity = truth.info["scene"]["gravity"] if "scene" in truth.info else GRAVITY
        times = np.linspace(0, truth.contacts[0] if len(truth.contacts) else truth.times[-1], 24)
        start = track(truth.dropped[:1])[0]
        height = start[1] + gravity / true["metres_per_pixel"] * times**2 / 2
        true["ideal"] = np.stack([times, np.full(24, start[0]), height], 1)
    tracks = [true]
    for name, clip in predictions.items():
        name = "truth, tracked" if name == "truth" else name
        names = (f"truth {truth.name}", f"{name} {clip.name}")
        masks = truth.dropped, truth.fps, clip.dropped, clip.fps, names
        frames, numbers = per_frame(*masks), fixed(*masks)
        numbers["fall_time_error"] = describe(clip.dropped, clip.fps, truth)["fall_time_error"]
        paired = {"time": frames["time"], "l2": frames["fixed_l2"], "iou": frames["iou"]}
        tracks.append(_track_view(name, clip, truth) | {"paired": paired, "numbers": numbers})
    return _plain({"name": truth.caption or truth.name, "tracks": tracks})


def _track_view(name: str, clip: Clip, truth: Clip) -> dict:
    points = track(clip.dropped)
    drop = drop_pixels(truth) if truth.contacts is not None and truth.camera is not None else float("nan")
    drop = drop if np.isfinite(drop) else None
    landing = fall_time(points[:, 1], clip.fps, drop)
    fit = fit_free_fall(points[:, 1], clip.fps, drop)
    times = np.linspace(0, landing if np.isfinite(landing) else (len(clip) - 1) / clip.fps, 24)
    fall = np.stack([times, np.full(24, np.nan), fit.start + fit.acceleration * times**2 / 2], 1)
    columns = int(np.ceil(np.sqrt(len(clip))))
    speed = np.r_[np.nan, np.hypot(*np.diff(points, axis=0).T) * clip.fps]
    known = truth.camera is not None and truth.poses is not None
    return {
        "name": name,
        "colour": figures.colour(name),
        "frames": _sheet(clip.frames, columns),
        "masks": _sheet(np.repeat(clip.dropped[..., None], 3, -1).astype(np.uint8) * 255, columns),
        "size": [clip.frames.shape[2], clip.frames.shape[1]],
        "columns": columns,
        "count": len(clip),
        "fps": clip.fps,
        "time": clip.times,
        "x": points[:, 0],
        "y": points[:, 1],
        "speed": speed,
        "landing": landing,
        "fit": fall if np.isfinite(fit.acceleration) else None,
        "g": fit.acceleration * metres_per_pixel(truth) if known else None,
    }


def _sheet(frames: np.ndarray, columns: int) -> bytes:
    """Frames (T, H, W, 3) uint8 as one lossless picture, row by row."""
    count, height, width, _ = frames.shape
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width, 3), np.uint8)
    sheet[:count] = frames
    sheet = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "webp", lossless=True, method=4, quality=50)
    return file.getvalue()


def _plain(value):
    """Arrays and numbers as JSON can hold them; what is not finite becomes None."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(one) for one in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 5) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def page(state: dict, title: str = "", script: Path = SCRIPT) -> str:
    """HTML that plays without a kernel and without the network.

    Args:
        state: {"views": from `clip_view`, "metrics": `METRICS`}; of another script, its widget's traits.
        title: of a whole page; without it, a piece for another page.
    """

    def packed(value):
        if isinstance(value, (bytes, memoryview)):
            return {"bytes": base64.b64encode(value).decode()}
        raise InputError("inspector", "state", f"holds {type(value).__name__}", "Take it from a TrajectoryPlayer.")

    data = json.dumps(state, default=packed, allow_nan=False).replace("<", "\\u003c")
    module = base64.b64encode(script.read_bytes()).decode()
    piece = f"""<style>{STYLE.read_text(encoding="utf-8")}</style><div></div><script type="module">
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const unpack = (key, value) => value?.bytes === undefined ? value : bytes(value.bytes);
const state = JSON.parse({json.dumps(data)}, unpack);
const el = document.querySelector("div[data-player=waiting]");
el.dataset.player = "shown";
const player = (await import("data:text/javascript;base64,{module}")).default;
const heard = {{}}, model = {{
  get: (name) => state[name],
  set: (name, value) => {{ state[name] = value; (heard[`change:${{name}}`] ?? []).forEach((act) => act()); }},
  on: (name, act) => (heard[name] ??= []).push(act),
  save_changes: () => {{}},
}};
player.render({{ model, el }});
</script>""".replace("<div></div>", '<div data-player="waiting"></div>')
    if not title:
        return piece
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{piece}</body></html>'
