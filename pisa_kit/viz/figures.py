"""Figures from arrays and tables: one style, one colour per method, truth always black."""

import io
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pisa_kit.clips.clip import Clip
from pisa_kit.metrics.fall_time import track
from pisa_kit.metrics.gravity import metres_per_pixel

COLOURS = {  # chosen by a search: 15 CIELAB units apart for colour-blind readers too, see test_plots.py
    "truth": "#000000",
    "ideal": "#279a4d",
    "codec": "#6e6b5e",
    "best guess": "#ebbf28",
    "slow gravity": "#db871b",
    "frozen": "#65a0e0",
    "vanish": "#c965a9",
    "base": "#f3357f",
    "PSFT": "#4275c0",
    "ambiguous PSFT": "#463e80",
    "energy score": "#8e00f4",
    "seg": "#8ac74f",
    "flow": "#871956",
    "depth": "#3d4cac",
    "newton": "#785b39",
    "iou": "#486a0b",
    "combined": "#1ea0a1",
    "centre": "#bfc2c3",
    "base (recommended size)": "#5c2e0a",
}
FIT = "#d55e00"  # a fit beside black points
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
LABELS = {
    "l2": "L2, official",
    "chamfer_distance": "CD, official",
    "iou": "IoU, official",
    "fixed_l2": "L2, fixed [widths]",
    "fall_l2": "L2 before contact [widths]",
    "fixed_chamfer_distance": "CD, fixed [widths]",
    "fixed_iou": "IoU, fixed",
    "coverage": "coverage",
    "visibility": "visibility",
    "g_eff": "g_eff [m/s²]",
    "fall_time_error": "fall time error [s]",
    "object_colour_error": "object colour error",
    "background_psnr": "background PSNR [dB]",
    "relative": "error over frozen's",
}


def use_style():
    """Sets the study's matplotlib style; call it once at the top of a notebook."""
    sns.set_theme(style="ticks", context="notebook", font_scale=0.85)
    plt.rcParams.update({"figure.dpi": 90, "axes.spines.right": False, "axes.spines.top": False})
    plt.rcParams.update({"figure.constrained_layout.use": True, "axes.titlesize": "medium"})


def colour(method: str) -> str:
    """The method's colour, whatever follows a comma; one without its own gets a stable one from a palette."""
    palette = sns.color_palette("colorblind", 10).as_hex()
    return COLOURS.get(method.removeprefix("+").split(",")[0], palette[sum(map(ord, method)) % 10])


def line_of(method: str):
    """The method's dashes, so that lines can be told apart without their colours; the truth's is solid."""
    name = method.removeprefix("+").split(",")[0]
    return LINES[list(COLOURS).index(name) % len(LINES)] if name in COLOURS else "-"


def png(figure: Figure, dpi: int = 90) -> bytes:
    """The figure as PNG bytes; it is closed, so that inline backends do not show it a second time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    plt.close(figure)
    return buffer.getvalue()


def chronophotograph(frames: np.ndarray, masks: np.ndarray, step: int = 1) -> np.ndarray:
    """All positions of one object in one picture, like a photograph under a stroboscope.

    Args:
        frames: (T, H, W, 3) uint8, static camera.
        masks: (T, H, W) bool, the object.
        step: every how many frames it is shown.

    Returns:
        (H, W, 3) uint8: the last frame with the object of every `step`-th frame pasted in.
    """
    picture = frames[-1].copy()
    for frame, mask in zip(frames[::step], masks[::step], strict=True):
        picture[mask] = frame[mask]
    return picture


def filmstrip(rows: dict[str, np.ndarray], fps: float, columns: int = 8, title: str = "") -> Figure:
    """One row of frames per entry; the columns show the same moments of all rows.

    Args:
        rows: label to frames (T, H, W, 3) uint8; all of the same length.
        fps: frames per second.
    """
    shown = np.linspace(0, min(map(len, rows.values())) - 1, columns).round().astype(int)
    figure, axes = plt.subplots(len(rows), columns, figsize=(1.35 * columns, 1.5 * len(rows)), squeeze=False)
    for axis_row, (label, frames) in zip(axes, rows.items(), strict=True):
        for axis, index in zip(axis_row, shown, strict=True):
            _picture(axis, frames[index])
        name = textwrap.fill(label, 14)
        tone = colour(label) if label.split(",")[0] in COLOURS else "black"
        axis_row[0].set_ylabel(name, color=tone, rotation=0, ha="right", va="center")
    for axis, index in zip(axes[0], shown, strict=True):
        axis.set_title(f"{index / fps:.2f} s")
    figure.suptitle(title)
    return figure


def gallery(pictures: dict[str, np.ndarray], columns: int = 6, title: str = "") -> Figure:
    """Pictures (H, W, 3) uint8 in a grid, each under its label."""
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.9 * columns, 2.1 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (label, picture) in zip(axes.flat, pictures.items(), strict=False):
        _picture(axis, picture)
        axis.set_title(label, fontsize="small")
    figure.suptitle(title)
    return figure


def drop(clip: Clip) -> Figure:
    """A simulated drop: chronophotograph, and the fallen distance seen in the picture against g t^2 / 2."""
    t, height = clip.times, track(clip.dropped)[:, 1]
    metres = (height - height[0]) * metres_per_pixel(clip)
    picture = chronophotograph(clip.frames, clip.dropped, step=max(1, round(clip.fps / 16)))
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.4), width_ratios=[1, 1.4])
    _picture(left, picture)
    left.set_title(clip.caption)
    right.plot(t, clip.info["scene"]["gravity"] * t**2 / 2, color="0.6", label="g t² / 2")
    right.plot(t, metres, "o", color=COLOURS["truth"], markersize=4, label="object")
    if len(clip.contacts):
        right.axvline(clip.contacts[0], color="0.6", linestyle=":", label=f"contact {clip.contacts[0]:.3f} s")
    right.set(xlabel="Time [s]", ylabel="Fallen distance [m]", ylim=(-0.1, max(float(np.nanmax(metres)), 0.2) * 1.35))
    right.invert_yaxis()
    right.legend(frameon=False)
    return figure


def ground_truth(clip: Clip, frame: int) -> Figure:
    """One frame of a simulated clip with its masks, depth and flow."""
    figure, axes = plt.subplots(1, 4, figsize=(11, 3))
    masks = clip.frames[frame] // 3
    for index, mask in enumerate(clip.masks[frame]):
        masks[mask] = 255 * np.array(sns.color_palette("colorblind")[index % 10])
    _picture(axes[0], clip.frames[frame])
    _picture(axes[1], masks)
    depth = axes[2].imshow(clip.depth[frame], cmap="viridis_r")
    figure.colorbar(depth, ax=axes[2], shrink=0.75, label="m")
    _picture(axes[3], flow_colours(clip.flow[frame]))
    reach = np.hypot(*np.moveaxis(clip.flow[frame], -1, 0)).max()
    titles = ("frame", "masks", "depth", f"flow (longest {reach:.1f} px)")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xticks=[], yticks=[])
    figure.suptitle(f"{clip.caption}  t = {frame / clip.fps:.2f} s")
    return figure


def flow_colours(flow: np.ndarray, longest: float | None = None) -> np.ndarray:
    """Flow (H, W, 2) in pixels as (H, W, 3) uint8: hue is direction, saturation is length over the longest."""
    length = np.hypot(flow[..., 0], flow[..., 1])
    hue = (np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi)) % 1
    longest = float(length.max()) if longest is None else longest
    hsv = np.stack([hue, np.clip(length / max(longest, 1e-6), 0, 1), np.ones_like(hue)], -1)
    return (255 * hsv_to_rgb(hsv)).astype(np.uint8)


def against_analytic(analytic: np.ndarray, measured: np.ndarray, label: str, note: str = "") -> Figure:
    """Measured over analytic values with the diagonal, and a histogram of the differences in milliseconds."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    ends = [min(analytic.min(), measured.min()), max(analytic.max(), measured.max())]
    left.plot(ends, ends, color="0.6", linewidth=1)
    left.plot(analytic, measured, ".", color=COLOURS["truth"], markersize=4)
    left.set(xlabel=f"Analytic {label} [s]", ylabel=f"Measured {label} [s]")
    right.hist(1000 * (measured - analytic), 30, color="0.4")
    right.set(xlabel="Measured − analytic [ms]", ylabel="Clips", title=note)
    return figure


def panels(count: int, columns: int = 4, size: tuple[float, float] = (2.9, 2.6), **options) -> tuple[Figure, list]:
    """A figure with `count` panels, `columns` in a row, so that it stays readable at the width of a page.

    Returns:
        The figure and its axes, in reading order.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(size[0] * columns, size[1] * rows), squeeze=False, **options)
    for axis in axes.flat[count:]:
        axis.remove()
    return figure, list(axes.flat[:count])


def intervals(summary: pd.DataFrame, metrics: list[str]) -> Figure:
    """Mean and 95 % interval per method, one panel per metric.

    Args:
        summary: columns method, metric, mean, low, high, n (as from `statistics.summarise`); an optional column `split`
            is drawn as open (unseen) and filled (seen) markers, each value of an optional column `row` in panels of its
            own.
        metrics: the panels.
    """
    methods, parts = list(dict.fromkeys(summary["method"])), {"": summary}
    if "row" in summary:
        parts = dict(list(summary.groupby("row", sort=False)))
    splits = list(dict.fromkeys(summary["split"])) if "split" in summary else [None]
    figure, axes = panels(len(parts) * len(metrics), size=(2.6, 2.5))
    wanted = [(name, part, metric) for name, part in parts.items() for metric in metrics]
    for axis, (name, part, metric) in zip(axes, wanted, strict=True):
        for place, split in enumerate(splits):
            rows = part[part["metric"] == metric]
            rows = rows if split is None else rows[rows["split"] == split]
            for row in rows.itertuples():
                x = methods.index(row.method) + 0.22 * (place - (len(splits) - 1) / 2)
                tone = colour(row.method)
                bars = [[max(row.mean - row.low, 0)], [max(row.high - row.mean, 0)]]
                face = "white" if split == "unseen" else tone
                axis.errorbar(x, row.mean, bars, fmt="o", color=tone, markerfacecolor=face, markersize=5, capsize=2)
        axis.margins(x=0.15)
        axis.set_title("\n".join(filter(None, (name, LABELS.get(metric, metric)))))
        axis.set_xticks(range(len(methods)), methods, rotation=60, ha="right", fontsize="small")
    counts = sorted(set(summary["n"]))
    note = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    what = " objects" if "row" in summary else ""
    marks = f"filled: seen{what}, open: unseen{what}; " if len(splits) > 1 else ""
    figure.supxlabel(f"{marks}n = {note} clips per point; bars: 95 % interval over clips and seeds", fontsize=8)
    return figure


def histograms(values: dict[str, np.ndarray], label: str, truth: float | None = None, bins=30) -> Figure:
    """Overlaid histograms, one per method, each of its own videos' shares; medians are in the legend.

    Args:
        values: method to a number per video, NaN where it could not be measured.
        truth: drawn as a black line.
    """
    figure, axis = plt.subplots(figsize=(8.8, 3))
    finite = {name: array[np.isfinite(array)] for name, array in values.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(finite.values())), bins)
    for name, array in finite.items():
        note = f"{name}: median {np.median(array):.2f}, n = {len(array)}" if len(array) else f"{name}: none measurable"
        line = {"color": colour(name), "linestyle": line_of(name)}
        share = np.full(len(array), 1 / max(len(array), 1))
        axis.hist(array, edges, weights=share, color=colour(name), alpha=0.25)
        axis.hist(array, edges, weights=share, histtype="step", linewidth=1.4, label=note, **line)
    if truth is not None:
        axis.axvline(truth, color=COLOURS["truth"], label=f"truth {truth:g}")
    axis.set(xlabel=label, ylabel="Share of videos")
    axis.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axis.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def measured_fall(t, y, fit_t, fit_y, landing: float | None, residual, title: str) -> Figure:
    """A tracked fall with its fitted curve (image height over time, pixels) and the misfit below."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 4.6), height_ratios=[3, 1], sharex=True)
    top.plot(t, y, ".", color=COLOURS["truth"], label="tracked object")
    top.plot(fit_t, fit_y, color=FIT, linewidth=1, label="fit")
    if landing is not None:
        top.axvline(landing, color="0.6", linestyle=":", label=f"landing {landing:.3f} s")
    top.invert_yaxis()
    top.set(ylabel="Image height [px]", title=title)
    top.legend(frameon=False)
    bottom.plot(fit_t, residual, ".", color=FIT, markersize=3)
    bottom.axhline(0, color="0.6", linewidth=0.8)
    bottom.set(xlabel="Time [s]", ylabel="Misfit [px]")
    return figure


def _picture(axis, frame: np.ndarray):
    axis.imshow(frame, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
