"""What the study found as tables: Table 1 in miniature, the headline of README, the findings."""

from dataclasses import asdict

import pandas as pd

from pisa_kit.metrics.scoring import published
from pisa_kit.study.report import OFFICIAL, Finding


def table(results: dict[str, dict]) -> pd.DataFrame:
    """Table 1 in miniature above the published one: official metrics on simulated seen and unseen objects.

    Args:
        results: notebook name to what it saved; without 02 and 03 there are the published rows alone.

    Returns:
        Columns "method" and one per split and metric; ours as "mean [low, high]".
    """
    ours = {}
    for row in [row for name in ("02_psft", "03_oro") for row in results.get(name, {}).get("summary", [])]:
        if row["metric"] in OFFICIAL:
            cells = ours.setdefault(row["method"], {"method": f"ours: {row['method']}"})
            cells[f"{row['split']} {OFFICIAL[row['metric']]}"] = "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**row)
    columns = {
        f"sim_{split}_{short.lower()}": f"{split} {short}"
        for split in ("seen", "unseen")
        for short in OFFICIAL.values()
    }
    paper = published().query("group == 'post-trained' or method == 'Open-Sora'")
    paper = paper[["method", *columns]].rename(columns=columns)
    for column in columns.values():
        paper[column] = paper[column].map("{:.3f}".format)
    paper["method"] = "paper: " + paper["method"]
    return pd.concat([pd.DataFrame(ours.values(), columns=paper.columns), paper], ignore_index=True)


HEADLINE = {  # columns of the headline: metric, its name in README, its format
    "l2": ("official L2", ".3f"),
    "fixed_l2": ("fixed L2", ".3f"),
    "visibility": ("object visible", ".0%"),
    "object_colour_error": ("colour error", ".3f"),
}


def headline(results: dict[str, dict], split: str = "unseen") -> list[str]:
    """The lines of a Markdown table: every method of notebooks 02 and 03, its errors and its gravity, with intervals.

    Args:
        results: notebook name to what it saved.
        split: of the held-out drops.
    """
    summary = results["02_psft"]["summary"] + results["03_oro"]["summary"]
    cells = {(row["method"], row["metric"]): row for row in summary if row["split"] == split}
    gravity = {row["method"]: row for row in results["02_psft"]["g_eff"] if row["split"] == split}
    lines = ["| method | " + " | ".join(name for name, _ in HEADLINE.values()) + " | median g_eff [m/s²] |"]
    lines.append("|---" * (len(HEADLINE) + 2) + "|")
    for method in dict.fromkeys(method for method, _ in cells):
        shown = []
        for metric, (_, form) in HEADLINE.items():
            row = cells[method, metric]
            shown.append(f"{row['mean']:{form}} [{row['low']:{form}}, {row['high']:{form}}]")
        row = gravity.get(method)
        known = row is not None and row["median"] is not None
        shown.append("{median:.1f} [{low:.1f}, {high:.1f}]".format(**row) if known else "-")
        lines.append(f"| {method} | " + " | ".join(shown) + " |")
    return lines


def as_markdown(found: list[Finding]) -> list[str]:
    """The lines of a Markdown table of findings; without the paper's numbers where it gives none."""
    lines = ["| the paper says | its number | here | | bounded by |", "|---|---|---|---|---|"]
    if not any(one.paper for one in found):
        lines = ["| claim | here | | bounded by |", "|---|---|---|---|"]
    rows = [(one.claim, one.paper, one.ours or "-", f"**{one.status}**", one.ceiling or "-") for one in found]
    return lines + [f"| {' | '.join(filter(None, row))} |" for row in rows]


def as_frame(found: list[Finding]) -> pd.DataFrame:
    """Findings as a table: claim, paper (where it says anything), ours, status, ceiling."""
    table = pd.DataFrame(map(asdict, found)).drop(columns="figure")
    return table if table["paper"].any() else table.drop(columns="paper")
