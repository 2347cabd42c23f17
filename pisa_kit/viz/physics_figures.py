"""Figures about gravity: maps over distance and height, slopes, fall times of one picture's worlds, falls in space."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pisa_kit.clips.clip import Camera
from pisa_kit.sim.settings import GRAVITY, Ranges
from pisa_kit.sim.worlds import Ambiguity
from pisa_kit.viz.figures import LABELS, colour, line_of, panels

LANDED = 0.2  # share of a method's videos that must land for their times to be drawn


def cell_maps(
    table: pd.DataFrame,
    value: str,
    distances: tuple[float, ...],
    heights: tuple[float, ...],
    ranges: Ranges,
    signed=False,
    statistic="mean",
) -> Figure:
    """A value in each cell of distance and height, one panel per method; the training range is a box.

    Args:
        table: one row per video: "method", "name" of its clip, "distance" and "height" (metres) and `value`.
        distances, heights: edges of the cells; cells without clips stay empty.
        ranges: of the training.
        signed: colours centred on 0.
        statistic: of the clips of a cell, "mean" or "median".
    """
    methods = list(dict.fromkeys(table["method"]))
    maps = {}
    for method in methods:
        rows = table[(table["method"] == method) & table[value].notna()]
        maps[method] = np.full((len(heights) - 1, len(distances) - 1), np.nan)
        for (row, column), group in rows.groupby(_cells(rows, distances, heights)):
            maps[method][row, column] = group[value].agg(statistic)
    every = np.concatenate([[0.0], *(found[np.isfinite(found)] for found in maps.values())])
    most = max(np.percentile(np.abs(every), 95), 1e-6)  # a few cells in which objects get lost would drown the others
    norm = CenteredNorm(0, most) if signed else Normalize(0, most)
    figure, axes = panels(len(methods), sharey=True)
    for axis, (method, found) in zip(axes, maps.items(), strict=True):
        drawn = axis.pcolormesh(distances, heights, found, norm=norm, cmap="RdBu_r" if signed else "rocket_r")
        for row, column in np.argwhere(np.isfinite(found)):
            number, middle = (
                found[row, column],
                (np.mean(heights[row : row + 2]), np.mean(distances[column : column + 2])),
            )
            dark = (abs(number) if signed else number) > 0.6 * norm.vmax
            text = f"{number:+.2f}" if signed else f"{number:.3f}"
            text = re.sub(r"^([+-]?)0\.", r"\1.", text)
            axis.text(*middle[::-1], text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        (left, right), (low, high) = ranges.distance, ranges.height
        axis.add_patch(Rectangle((left, low), right - left, high - low, fill=False, linewidth=2.2, edgecolor="black"))
        axis.set(title=method, xlabel="Distance [m]")
        axis.title.set_color(colour(method))
    for axis in axes[::4]:
        axis.set_ylabel("Drop height [m]")
    figure.colorbar(drawn, ax=axes, label=LABELS.get(value, value), shrink=0.9, extend="both" if signed else "max")
    counts = sorted(set(table.groupby(["method", *_cells(table, distances, heights)])["name"].nunique()))
    note = "–".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
    figure.supxlabel(
        f"box: training range; {note} clips per cell; white: out of the picture, or not measurable", fontsize=8
    )
    return figure


def _cells(table: pd.DataFrame, distances, heights) -> list[np.ndarray]:
    """Row and column of each clip's cell."""
    return [np.digitize(table["height"], heights) - 1, np.digitize(table["distance"], distances) - 1]


def gravity_slopes(table: pd.DataFrame, slopes: pd.DataFrame) -> Figure:
    """Effective gravity of every clip over height, distance and size, with the joint fit's slope through the means.

    Args:
        table: one row per clip: "method", "g_eff" and the columns named in `slopes`.
        slopes: from `statistics.slopes`, with a column "method".
    """
    by, (low, high) = list(dict.fromkeys(slopes["by"])), (-3, 16)
    figure, axes = plt.subplots(1, len(by), figsize=(3.6 * len(by), 3.1), sharey=True)
    hidden = 0
    for axis, column in zip(axes, by, strict=True):
        for method, rows in table.dropna(subset=["g_eff"]).groupby("method", sort=False):
            tone = colour(method)
            axis.scatter(rows[column], rows["g_eff"], s=9, alpha=0.35, color=tone)
            slope = slopes[(slopes["method"] == method) & (slopes["by"] == column)]["slope"].iloc[0]
            ends = np.array([rows[column].min(), rows[column].max()])
            axis.plot(
                ends,
                rows["g_eff"].mean() + slope * (ends - rows[column].mean()),
                color=tone,
                linestyle=line_of(method),
                label=method,
            )
            hidden += int((~rows["g_eff"].between(low, high)).sum())
        axis.axhline(GRAVITY, color="black", linestyle=":", linewidth=1)
        axis.set(xlabel=f"{column.capitalize()} [m]", ylim=(low, high))
    axes[0].set_ylabel(LABELS["g_eff"])
    axes[-1].legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    count = f"n = {' to '.join(map(str, sorted({slopes['n'].min(), slopes['n'].max()})))} clips per method"
    note = f"{count}, a point per video; {hidden // len(by)} points lie outside the axis"
    figure.supxlabel(note, fontsize=8)
    return figure


def fall_times(times: dict[str, np.ndarray], ambiguity: Ambiguity, title: str = "") -> Figure:
    """How often which fall time occurs in videos from one picture, against the analytic distribution (grey).

    Args:
        times: method to measured fall times (N,), seconds, NaN where none could be measured; a method of which few
            videos land is named, not drawn.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.4))
    low, high = ambiguity.times[0] - 0.1, ambiguity.times[1] + 0.1
    shown, bins = np.linspace(low, high, 400), np.arange(low, high, 0.01)
    left.fill_between(shown, ambiguity.density(shown), color="0.85")
    right.plot(shown, ambiguity.cumulative(shown), color="0.85", linewidth=6, label="analytic")
    most, rare = ambiguity.density(shown).max(), []
    for method, found in times.items():
        seen = np.sort(found[np.isfinite(found)])
        if len(seen) < max(8, LANDED * len(found)):
            rare.append(f"{method} {len(seen)} of {len(found)}")
            continue
        line = {"color": colour(method), "linestyle": line_of(method), "linewidth": 1.4}
        label = f"{method}, {len(seen)} of {len(found)} land"
        if np.ptp(seen) < np.diff(bins[:2]):  # one answer
            for axis in (left, right):
                axis.axvline(seen[0], label=f"{label}, one answer", **line)
            continue
        share = np.full(len(seen), 1 / len(seen) / np.diff(bins[:2]))  # of all, those outside the axis, too
        heights, *_ = left.hist(seen, bins, weights=share, histtype="step", **line)
        outside = int(((seen < low) | (seen > high)).sum())
        label += f", {outside} of them outside" if outside else ""
        most = max(most, heights.max())
        share = (np.arange(len(seen) + 1)) / len(seen)
        right.step([seen[0], *seen], share, where="post", label=label, **line)
    if rare:
        right.plot([], [], " ", label="\n".join(["too few land to be drawn:", *rare]))
    left.set(xlabel="Fall time [s]", ylabel="Density [1/s]", title=title, xlim=(low, high), ylim=(0, 1.1 * most))
    right.set(xlabel="Fall time [s]", ylabel="Cumulative share", xlim=(low, high))
    right.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def in_space(paths: dict[str, list[np.ndarray]], ambiguity: Ambiguity, camera: Camera) -> Figure:
    """Falls lifted to space, one panel per method, with the camera and the ray on which all objects start.

    Args:
        paths: method to lifted tracks (T, 3), metres; see `distribution.lift`.
    """
    figure, axes = panels(len(paths), 3, (3.3, 3.4), subplot_kw={"projection": "3d"})
    near, far = ambiguity.distances
    for axis, (method, tracks) in zip(axes, paths.items(), strict=True):
        starts = np.array([path[0] for path in tracks if np.isfinite(path[0]).all()]).reshape(-1, 3)
        for path in tracks:
            axis.plot(*path.T, color=colour(method), linewidth=0.7, alpha=0.6)
        if len(starts):
            ray = starts.mean(0) - (0, 0, camera.height)
            ends = np.array([(0, 0, camera.height), (0, 0, camera.height) + ray / ray[1] * 1.1 * far])
            axis.plot(*ends.T, color="black", linewidth=0.8, linestyle="--")
        axis.scatter(0, 0, camera.height, color="black", marker="^")
        axis.set(title=method if tracks else f"{method}: none", xlim=(-1, 1), ylim=(0, 1.2 * far), zlim=(0, 2))
        axis.set(xlabel="x [m]", ylabel="distance [m]", zlabel="height [m]")
        axis.set_box_aspect(None, zoom=0.78)  # else the label of the height is cut off
        axis.set_xticks([-1, 0, 1])
        axis.tick_params(labelsize=6)
        axis.title.set_color(colour(method))
    return figure
