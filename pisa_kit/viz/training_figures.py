"""Figures about training: the loss, rewards beside held-out metrics, ablations, effects."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pisa_kit.viz.figures import COLOURS, LABELS, colour, line_of, panels


def loss_curve(log: list[dict], term: str = "loss", title: str = "") -> Figure:
    """A term of a training log over the steps: every logged step as a dot, their running mean as a line."""
    steps, values = (np.array([line[key] for line in log], float) for key in ("step", term))
    figure, axis = plt.subplots(figsize=(6.5, 2.8))
    axis.plot(steps, values, ".", color="0.7", markersize=4)
    axis.plot(steps, pd.Series(values).rolling(9, min_periods=1, center=True).mean(), color=COLOURS["PSFT"])
    axis.set(xlabel="Step", ylabel=term, title=title)
    return figure


def reward_and_metrics(
    logs: dict[str, list[dict]],
    eval_steps: dict[str, list[dict]],
    metrics: tuple[str, ...] = ("l2", "fixed_l2", "fixed_iou", "visibility", "object_colour_error", "background_psnr"),
) -> Figure:
    """Reward tuning: what was minimised beside what held-out clips say, over the steps; one line per run.

    The second run of a reward ("seg, hacked") is dotted.

    Args:
        logs: run to the lines of its training log.
        eval_steps: run to what validation clips said: "step" and metrics.
    """
    figure, axes = panels(1 + len(metrics))
    for label, log in logs.items():
        steps, values = (np.array([line[key] for line in log], float) for key in ("step", "loss"))
        values = pd.Series(values / values[:5].mean()).rolling(9, min_periods=1, center=True).mean()
        axes[0].plot(steps, values, color=colour(label), linestyle=_dashes(label), label=label)
    for axis, metric in zip(axes[1:], metrics, strict=True):
        for label, found in eval_steps.items():
            line = {"color": colour(label), "linestyle": _dashes(label), "marker": "o", "markersize": 4}
            axis.plot([look["step"] for look in found], [look[metric] for look in found], **line)
        axis.set(title=LABELS.get(metric, metric), xlabel="Step")
    axes[0].set(title="loss / its start, smoothed", xlabel="Step")
    figure.legend(loc="lower right", bbox_to_anchor=(0.97, 0.1), frameon=False)  # in the empty panel
    return figure


def _dashes(label: str):
    return ":" if "," in label else line_of(label)


def best_of(table: pd.DataFrame) -> Figure:
    """Fixed L2 of the one of N videos that a reward keeps, at random, by an oracle, over N.

    Args:
        table: from `metrics.best_of.best_of`.
    """
    figure, axis = plt.subplots(figsize=(6.4, 3.2))
    for choice, rows in table.groupby("choice", sort=False):
        line = {"random": "0.5", "oracle": "black"}.get(choice, colour(choice))
        axis.plot(rows["N"], rows["mean"], color=line, linestyle=line_of(choice), marker="o", label=choice)
        axis.fill_between(rows["N"], rows["low"], rows["high"], color=line, alpha=0.1)
    axis.set(xlabel="N videos of a clip, one is kept", ylabel="fixed L2 [image widths]")
    axis.set_xticks(sorted(set(table["N"])))
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.set_title(f"n = {table['n'].max():.0f} clips, one training; bands: 95 % over clips", fontsize="small")
    return figure


def ablation(summary: pd.DataFrame, by: str, metrics: list[str], levels: dict[str, dict[str, float]]) -> Figure:
    """How metrics change with a number that was varied, one panel per metric, logarithmic.

    Args:
        summary: columns `by`, metric, mean, low, high, n (as from `statistics.summarise`).
        by: what was varied; the label of the horizontal axis.
        metrics: the panels.
        levels: {method: {metric: value}}, drawn as horizontal lines for comparison.
    """
    figure, axes = plt.subplots(1, len(metrics), figsize=(3.2 * len(metrics), 3), squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        rows = summary[summary["metric"] == metric]
        bars = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        axis.errorbar(rows[by], rows["mean"], bars, fmt="o-", color=COLOURS["PSFT"], capsize=3, markersize=4)
        for method, values in levels.items():
            axis.axhline(values[metric], color=colour(method), linestyle="--", linewidth=1, label=method)
        axis.set_xscale("log", base=2)
        axis.set_xticks(rows[by], [f"{value:g}" for value in rows[by]])
        axis.set(xlabel=by, title=LABELS.get(metric, metric))
    axes[0, 0].legend(frameon=False, fontsize="small")
    figure.supxlabel(f"n = {summary['n'].max()} clips per point; bars: 95 % interval over clips and seeds", fontsize=8)
    return figure


def effects(table: pd.DataFrame) -> Figure:
    """The paper's effects and ours on one axis of relative change.

    Args:
        table: from `report.effects`.
    """
    figure, axis = plt.subplots(figsize=(7, 0.8 + 0.55 * len(table)))
    for place, row in enumerate(table.itertuples()):
        bars = [[row.mean - row.low], [row.high - row.mean]]
        axis.errorbar(row.mean, place, xerr=bars, fmt="o", color=colour(row.method), capsize=3)
        axis.plot(row.paper, place, "D", color="0.4", markerfacecolor="white", markersize=8, zorder=0)
        axis.plot(row.ceiling, place, "|", color="black", markersize=18, markeredgewidth=2)
    marks = {
        "paper": ("D", "0.4", "white"),
        "here": ("o", "0.2", "0.2"),
        "best guess from one picture": ("|", "k", "k"),
    }
    for label, (mark, tone, face) in marks.items():
        axis.plot([], [], mark, color=tone, markerfacecolor=face, label=label)
    axis.axvline(0, color="0.8", zorder=-1)
    axis.set_yticks(range(len(table)), table["what"])
    axis.invert_yaxis()
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.set_xlabel("change on unseen objects; bars: 95 % interval over clips and seeds")
    axis.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
