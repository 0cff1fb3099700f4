"""The targets of the fetcher, and whether this measurement reaches them. All but memory are ratios of medians within one case,
whose tools took turns."""

import dataclasses
import statistics

from . import cases, tools

LIMITS = "limits"


@dataclasses.dataclass(frozen=True)
class Figure:
    """One target and its measured value."""

    text: str
    value: str
    target: str
    is_reached: bool | None


def median(results, case, tool, what="wall"):
    """Median over the runs with the right bytes; None if there are none."""
    runs = results["cases"].get(case, {}).get("runs", {}).get(tool, [])
    values = [run[what] for run in runs if run.get("right", True) and run[what] is not None]
    return statistics.median(values) if values else None


def all_figures(results):
    """Every target whose cases were measured."""
    found = [
        _at_most(results, "file", "wall time relative to aria2 with --checksum", "aria2-checksum", 0.6),
        _at_most(results, "file", "the same, aria2 tuned (-k1M, falloc)", "aria2-tuned-checksum", 0.6),
        _at_most(results, "file", "wall time relative to aria2 without --checksum", "aria2", 1.0),
        _at_most(results, "file", "the same, aria2 tuned (-k1M, falloc)", "aria2-tuned", 1.0),
        _at_most(results, "file", "wall time relative to hf_transfer and a pass of SHA-256", "transfer-openssl", 0.5),
        _at_most(results, "file", "wall time relative to the limit of disk and SHA-256", LIMITS, 1.15),
        _at_most(results, "file", "processor time relative to aria2 with --checksum", "aria2-checksum", 1.0, "cpu"),
        _at_most(results, "file", "the same, aria2 tuned (-k1M, falloc)", "aria2-tuned-checksum", 1.0, "cpu"),
        _share_of_caps(results, "mirrors", "three capped mirrors: share of the sum of their caps"),
        _share_of_caps(results, "mirrors-slow", "the same, one of them 100 times slower"),
        _memory(results),
        _fetched_again(results),
    ]
    return [figure for figure in found if figure]


def _at_most(results, case, text, other, target, what="wall"):
    ours, theirs = median(results, case, tools.OURS, what), median(results, case, other, what)
    if ours is None or theirs is None:
        return None
    ratio = ours / theirs
    return Figure(f"one file, {text}", f"{ratio:.2f}", f"at most {target:.2f}", ratio <= target)


def _share_of_caps(results, case, text):
    wall = median(results, case, tools.OURS)
    if wall is None:
        return None
    result = results["cases"][case]
    share = result["bytes"] / wall / sum(result["caps"])
    return Figure(text, f"{share:.3f}", "at least 0.95", share >= 0.95)


def _memory(results):
    peaks = [
        run["resident"]
        for key, result in results["cases"].items() if key != cases.KILL
        for tool, runs in result["runs"].items() if tool.startswith(tools.OURS)
        for run in runs
    ]
    if not peaks:
        return None
    peak = max(peaks) / 2**20
    return Figure("peak resident memory, all cases", f"{peak:.1f} MiB", "at most 96 MiB", peak <= 96)


def _fetched_again(results):
    runs = results["cases"].get(cases.KILL, {}).get("runs")
    if not runs:
        return None
    most = max(run["again"] for run in runs) / 2**20
    return Figure(f"fetched again after SIGKILL, the most of {len(runs)}", f"{most:.1f} MiB", "at most 64 MiB", most <= 64)
