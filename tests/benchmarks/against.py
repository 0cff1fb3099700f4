"""Compares two builds of the fetcher: in turns, case by case, and pair by pair."""

import dataclasses
import statistics

from . import cases, runs, tools

FORMER = "former"
# What a change of the engine must not slow down.
CASES = ("file", "model", "file-20ms", "model-20ms", "file-100ms", "model-100ms", "file-50mbit", "mirrors")


def former(program):
    """Another build, with the same options."""
    def command(job):
        ours = tools.ALL[tools.OURS].command(job)
        return dataclasses.replace(ours, arguments=[str(program), *ours.arguments[1:]])

    return tools.Tool(FORMER, "former build", tools.WHILE_FETCHING, command, is_durable=True)


def compare(bench, every, datasets, program, wanted, rounds):
    """Measures the wanted cases, and prints the median of each build and of the ratios of the pairs."""
    tools.ALL[FORMER] = former(program)
    rows = []
    for case in every:
        if case.key not in wanted:
            continue
        pair = dataclasses.replace(case, tools=(tools.OURS, FORMER), once=(), max_runs=None, with_limits=False)
        runs.say(case.title)
        measured = bench.run_case(pair, datasets[case.dataset], rounds)
        rows.append((case, measured[tools.OURS], measured[FORMER]))
    print(f"{'case':12} {'this':>8} {'former':>8} {'ratio':>6} {'pairs':>20} {'MiB':>6} {'MiB':>6}")
    for case, ours, theirs in rows:
        ratios = [one["wall"] / other["wall"] for one, other in zip(ours, theirs)]
        middle = [statistics.median(run["wall"] for run in of) for of in (ours, theirs)]
        memory = [max(max(run["resident"], run["charged"] or 0) for run in of) / cases.MIB for of in (ours, theirs)]
        pairs = " ".join(f"{ratio:.3f}" for ratio in ratios)
        print(
            f"{case.key:12} {middle[0]:6.2f} s {middle[1]:6.2f} s {statistics.median(ratios):6.3f} {pairs:>20}"
            f" {memory[0]:6.1f} {memory[1]:6.1f}"
        )
    return all(run["right"] for _, ours, theirs in rows for run in (*ours, *theirs))
