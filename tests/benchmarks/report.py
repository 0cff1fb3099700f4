"""Writes docs/benchmarks.md from the results."""

import statistics

from . import cases, tools
from .figures import LIMITS

MIB = 2**20

HEAD = """\
# Benchmarks

Written by `make bench`; the runs themselves are in [benchmarks/results.json](benchmarks/results.json).

![Wall time of each tool in each case](benchmarks/wall.svg)
"""

METHOD = """\
## How it was measured

{machine}; data and destination on {disk}. All of it on this one machine: nginx, the links and the tool
share its cores, so that a tool that leaves more of them to the server is faster; over a real network all of that is less.

- **Turns.** The tools of a case take turns, and who begins changes with each turn. Before each run the data is read into the
  page cache for nginx, the destination is removed, and the disk is synced. Medians; in brackets the least and the most.
- **One file**: {file}. **Model**: {model}.
- **Servers.** nginx with `sendfile`, a worker for each core; it also gives the listings of a Hugging Face hub and of ModelScope, so
  that each client speaks its own protocol. Large files are redirected to another port, as a hub redirects to its CDN. aria2,
  axel and curl are given addresses and digests and ask no hub; so is modelcache for one file, while for the model it lists,
  locates and fetches as from the hub.
- **Latency and caps** are made by a relay (`tests/src/link.rs`), since the kernel here has no netem: it delays what passes and
  bounds what one connection may have on the way (4 MiB). It takes processor time from all tools alike. Loss and the slow
  start of new connections are not imitated, which flatters tools that open many.
- **Wall, processor**: from start to end of the tool and its children, user and system. What the kernel does for the tool
  outside of it, such as writing back the page cache, is in neither.
- **Memory**: the most that the tool and its children had resident together.
- **Wire**: bytes the server or the relay passed on, beside the bytes of the files. More than 1 is what was fetched twice or
  thrown away.
- **Verified**: `as bytes come` or `afterwards` by another pass over the file; `no`: other bytes of the same length would pass. After
  each run the result is compared with what is true, outside of the measured time; a run that brought other bytes counts as
  failed.
- **Durable**: wall, and what `sync` of the file system takes after the tool has ended. Modelcache and aria2 sync the files
  themselves before they end; where a tool does not, a power loss soon after costs its files.
- **Limit**: the larger of two times measured in the same turns: writing so many bytes with fallocate, `O_DIRECT` and fsync (the
  fastest of three ways), and SHA-256 of them on one core for each file in flight, as many as there are cores.
- **SIGKILL**: the fetcher is stopped at a random moment, killed, and started again. What nginx has sent to the first one, by its
  log, less what the kernel held unread then, and is asked for by the second one, was fetched again.

aria2 is also run with options that make it faster: `-k1M --file-allocation=falloc`, and `-j16` for the model. hf_transfer is
the accelerator of huggingface_hub before 1.0, driven by its last release that could. Where a tool has no digest of its own to
check, `openssl dgst` does it, which is several times faster than `sha256sum`.
"""


def document(results, every, figures):
    """The whole document."""
    parts = [HEAD, "## What is promised\n", "\n".join(figures_table(figures)), ""]
    parts += [_case(results["cases"][case.key], case) for case in every if case.key in results["cases"]]
    if cases.KILL in results["cases"]:
        parts.append(_kill(results["cases"][cases.KILL]))
    parts += [_method(results), _versions(results)]
    return "\n".join(parts)


def figures_table(figures):
    """The promises as lines of a table."""
    yield "| figure | measured | promised | |"
    yield "|---|---|---|---|"
    for figure in figures:
        yield f"| {figure.text} | {figure.value} | {figure.target} | {'reached' if figure.is_reached else '**missed**'} |"


def _case(told, case):
    ours = _median(told["runs"].get(tools.OURS, []), "wall")
    turns = max(len(runs) for runs in told["runs"].values())
    size = f"{_size(told['bytes'])} in {told['files']} file{'s' * (told['files'] > 1)}"
    lines = [
        f"## {case.title}", "", f"{size}; {turns} turn{'s' * (turns > 1)}; {_when(told)}." + _caps(told), "",
        "| tool | wall, s | beside modelcache | durable, s | processor, s | memory, MiB | wire | verified |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, runs in told["runs"].items():
        if key != LIMITS and runs:
            lines.append(_row(tools.ALL[key], runs, turns, ours, told["bytes"], case.timeout_seconds))
    if LIMITS in told["runs"]:
        lines += ["", _limits(told["runs"][LIMITS])]
    return "\n".join([*lines, ""])


def _row(tool, runs, turns, ours, size, timeout_seconds):
    right = [run for run in runs if run["right"]]
    if not right:
        what = f"not done after {timeout_seconds} s" if any(run.get("timed_out") for run in runs) else "failed"
        return f"| {tool.label}{_turns(runs, runs, turns)} | {what} | | | | | | {tool.verifies} |"
    wall = _median(right, "wall")
    durable = statistics.median(run["wall"] + run["sync"] for run in right)
    cells = [
        tool.label + _turns(right, runs, turns),
        _spread([run["wall"] for run in right]),
        f"{wall / ours:.2f}" if ours else "",
        f"{durable:.2f}",
        f"{_median(right, 'cpu'):.2f}",
        f"{max(run['resident'] for run in right) / MIB:.0f}",
        f"{_median(right, 'wire') / size:.3f}",
        tool.verifies,
    ]
    return f"| {' | '.join(cells)} |"


def _turns(right, runs, turns):
    if len(right) < len(runs):
        return f" ({len(right)} of {len(runs)} runs right)"
    return f" ({len(runs)} turn{'s' * (len(runs) > 1)})" if len(runs) < turns else ""


def _limits(runs):
    write, sha256 = _spread([run["write"] for run in runs]), _spread([run["sha256"] for run in runs])
    return f"Limit: {_median(runs, 'wall'):.2f} s; disk {write} s, SHA-256 {sha256} s."


def _when(told):
    return f"{told['at']}, modelcache {told['commit']}"


def _caps(told):
    if not told["caps"]:
        return ""
    caps = ", ".join(f"{cap / 1e6:g}" for cap in told["caps"])
    least = told["bytes"] / sum(told["caps"])
    return f" Caps: {caps} MB/s, together {sum(told['caps']) / 1e6:g}: {least:.1f} s at least."


def _kill(told):
    lines = [
        f"## {cases.KILL_TITLE}", "", f"{_size(told['bytes'])} in one file from loopback; {_when(told)}.", "",
        "| killed after, s | received, MiB | fetched again, MiB | unread in the kernel, MiB |", "|---|---|---|---|",
    ]
    for run in sorted(told["runs"], key=lambda run: run["moment"]):
        again = f"{run['again'] / MIB:.1f}{'' if run['right'] else ' **wrong**'}"
        lines.append(f"| {run['moment']:.2f} | {run['first'] / MIB:.0f} | {again} | {run['unread'] / MIB:.0f} |")
    return "\n".join([*lines, ""])


def _method(results):
    machine, told = results["machine"], results["cases"]
    text = f"{machine['processor']}, {machine['cores']} cores, {machine['memory'] / 2**30:.0f} GiB of memory, Linux {machine['kernel']}"

    def described(key):
        return f"{_size(told[key]['bytes'])} in {told[key]['files']} files" if key in told else "not measured"

    file = _size(told["file"]["bytes"]) if "file" in told else "not measured"
    return METHOD.format(machine=text, disk=results["disk"], file=file, model=described("model"))


def _versions(results):
    lines = ["| program | version |", "|---|---|"]
    lines += [f"| {name} | {version} |" for name, version in results["versions"].items()]
    return "\n".join([*lines, ""])


def _median(runs, what):
    return statistics.median(run[what] for run in runs) if runs else None


def _spread(values):
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} to {max(values):.2f})"


def _size(count):
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / MIB:.0f} MiB"
