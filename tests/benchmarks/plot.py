"""Draws the wall times in results.json as an SVG. Needs a Python with matplotlib.

Usage: plot.py RESULTS SVG
"""

import json
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

# The package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from benchmarks import cases, tools  # noqa: E402

OURS, VERIFYING, BLIND = "#0b6e4f", "#6b7a8f", "#c9d0da"
COLUMNS = 2


def main():
    results = json.loads(pathlib.Path(sys.argv[1]).read_text())
    measured = results["cases"]
    shown = [case for case in cases.all_cases(cases.FULL) if case.key in measured]
    if not shown:
        return
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "modelcache", "font.family": "sans-serif", "font.size": 9})
    rows = -(-len(shown) // COLUMNS)
    heights = [max(_bars(measured[case.key]) for case in shown[row * COLUMNS : (row + 1) * COLUMNS]) + 3 for row in range(rows)]
    figure, axes = plt.subplots(
        rows, COLUMNS, figsize=(13, 0.24 * sum(heights)), squeeze=False, gridspec_kw={"height_ratios": heights}, layout="constrained"
    )
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for place, (axis, case) in enumerate(zip(axes.flat, shown, strict=False)):
        # Bars have the same thickness in all plots.
        _draw(axis, case, measured[case.key], heights[place // COLUMNS] - 3)
    handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in (OURS, VERIFYING, BLIND)]
    handles.append(plt.Line2D([], [], color="#b3261e", linestyle="--"))
    labels = ["modelcache (verified, durable)", "others, verified", "others, not verified", "limit of disk and SHA-256, or of the caps"]
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(sys.argv[2], metadata={"Date": None})


def _bars(result):
    return sum(1 for key, runs in result["runs"].items() if key in tools.ALL and any(run["right"] for run in runs))


def _draw(axis, case, result, places):
    bars = []
    for key, runs in result["runs"].items():
        walls = [run["wall"] for run in runs if run.get("right")]
        if key in tools.ALL and walls:
            bars.append((tools.ALL[key], walls))
    bars.sort(key=lambda bar: statistics.median(bar[1]), reverse=True)
    middles = [statistics.median(walls) for _, walls in bars]
    longest = max(middles)
    for place, (middle, (tool, walls)) in enumerate(zip(middles, bars, strict=True)):
        color = OURS if tool.key.startswith(tools.OURS) and tool.is_durable else BLIND if tool.verifies == tools.NO else VERIFYING
        axis.barh(place, middle, color=color, height=0.7)
        axis.plot([min(walls), max(walls)], [place, place], color="black", linewidth=0.8)
        axis.text(max(middle, max(walls)) + longest * 0.01, place, f"{middle:.1f}", va="center", fontsize=8)
    limit = _limit(result)
    if limit:
        axis.axvline(limit, color="#b3261e", linestyle="--", linewidth=1)
    axis.set_yticks(range(len(bars)), [tool.label for tool, _ in bars])
    axis.set_xlim(0, longest * 1.12)
    axis.set_ylim(len(bars) - places - 0.5, len(bars) - 0.5)
    axis.set_title(case.title, loc="left", fontsize=10, fontweight="bold")
    axis.set_xlabel("seconds", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _limit(result):
    if result["caps"]:
        return result["bytes"] / sum(result["caps"])
    limits = [run["wall"] for run in result["runs"].get("limits", [])]
    return statistics.median(limits) if limits else None


if __name__ == "__main__":
    main()
