"""Writes docs/benchmarks.md from the results."""

import statistics

from . import cases, tools
from .figures import LIMITS

MIB = 2**20

HEAD = """\
# Benchmarks

`make bench` writes this file; [benchmarks/results.json](benchmarks/results.json) holds the single runs.

![Wall time of each tool in each case](benchmarks/wall.svg)
"""

METHOD = """\
## Method

{machine}; data and destination on {disk}. Everything runs on this one machine: nginx, the links and the tool
share its cores, so a tool that leaves more of them to the server is faster. Over a real network this effect is smaller.

- **Turns.** The tools of a case alternate, and each turn starts with another tool. Before each run the data is read into the
  page cache for nginx, the destination is removed, and the disk is synced. Values are medians, with minimum and maximum in brackets.
- **One file**: {file}. **Model**: {model}.
- **Servers.** nginx with `sendfile` and one worker per core. It also serves the listings of a Hugging Face hub and of ModelScope, so
  each client uses its own protocol. Large files are redirected to another port, as a hub redirects to its CDN. aria2,
  axel and curl get addresses and digests and use no hub. modelcache does the same for the one file; for the model it lists,
  locates and fetches as from the hub.
- **Latency and caps** come from a relay (`tests/src/link.rs`), because the kernel here has no netem. The relay delays all traffic and
  limits the bytes in flight of one connection (4 MiB). It takes the same processor time from all tools. Loss and the slow
  start of new connections are not simulated, which flatters tools that open many.
- **Wall, processor**: from start to end of the tool and its children, user and system. Kernel work outside of the tool, such as
  writing back the page cache, is in neither.
- **Memory**: peak resident memory of the tool and its children together.
- **Wire**: bytes that the server or the relay sent, relative to the bytes of the files. More than 1 means bytes that were fetched
  twice or discarded.
- **Verified**: `while fetching`, or `afterwards` by another pass over the file; `no`: wrong bytes of the same length would pass. After
  each run, outside of the measured time, the result is compared with the original. A run with wrong bytes counts as failed.
- **Durable**: wall plus the time that `sync` of the file system takes after the tool ends. modelcache and aria2 sync the files
  themselves before they end; with other tools, a power loss shortly afterwards costs the files.
- **Limit**: the larger of two times measured in the same turns: writing the same number of bytes with fallocate, `O_DIRECT` and
  fsync (the fastest of three ways), and their SHA-256, on one core per file in flight, up to the number of cores.
- **SIGKILL**: the fetcher is stopped at a random moment, killed, and started again. Fetched again are the bytes that nginx, by its
  log, sent to the first run, minus those still unread in the kernel, and that the second run requests.

aria2 also runs with faster options: `-k1M --file-allocation=falloc`, and `-j16` for the model. hf_transfer is
the accelerator of huggingface_hub before 1.0, run through the last release that supports it. If a tool has no digest of its own to
check, `openssl dgst` checks it, which is several times faster than `sha256sum`.
"""


def document(results, every, figures):
    """The whole document."""
    parts = [HEAD, "## Targets\n", "\n".join(figures_table(figures)), ""]
    parts += [_case(results["cases"][case.key], case) for case in every if case.key in results["cases"]]
    if cases.KILL in results["cases"]:
        parts.append(_kill(results["cases"][cases.KILL]))
    parts += [_method(results), _versions(results)]
    return "\n".join(parts)


def figures_table(figures):
    """The targets as lines of a table."""
    yield "| figure | measured | target | |"
    yield "|---|---|---|---|"
    for figure in figures:
        yield f"| {figure.text} | {figure.value} | {figure.target} | {'reached' if figure.is_reached else '**missed**'} |"


def _case(result, case):
    ours = _median(result["runs"].get(tools.OURS, []), "wall")
    turns = max(len(runs) for runs in result["runs"].values())
    size = f"{_size(result['bytes'])} in {result['files']} file{'s' * (result['files'] > 1)}"
    lines = [
        f"## {case.title}", "", f"{size}; {turns} turn{'s' * (turns > 1)}; {_when(result)}." + _caps(result), "",
        "| tool | wall, s | relative to modelcache | durable, s | processor, s | memory, MiB | wire | verified |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, runs in result["runs"].items():
        if key != LIMITS and runs:
            lines.append(_row(tools.ALL[key], runs, turns, ours, result["bytes"], case.timeout_seconds))
    if LIMITS in result["runs"]:
        lines += ["", _limits(result["runs"][LIMITS])]
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


def _when(result):
    return f"{result['at']}, modelcache {result['commit']}"


def _caps(result):
    if not result["caps"]:
        return ""
    caps = ", ".join(f"{cap / 1e6:g}" for cap in result["caps"])
    least = result["bytes"] / sum(result["caps"])
    return f" Caps: {caps} MB/s, together {sum(result['caps']) / 1e6:g}: {least:.1f} s at least."


def _kill(result):
    lines = [
        f"## {cases.KILL_TITLE}", "", f"{_size(result['bytes'])} in one file from loopback; {_when(result)}.", "",
        "| killed after, s | received, MiB | fetched again, MiB | unread in the kernel, MiB |", "|---|---|---|---|",
    ]
    for run in sorted(result["runs"], key=lambda run: run["moment"]):
        again = f"{run['again'] / MIB:.1f}{'' if run['right'] else ' **wrong**'}"
        lines.append(f"| {run['moment']:.2f} | {run['first'] / MIB:.0f} | {again} | {run['unread'] / MIB:.0f} |")
    return "\n".join([*lines, ""])


def _method(results):
    machine, measured = results["machine"], results["cases"]
    text = f"{machine['processor']}, {machine['cores']} cores, {machine['memory'] / 2**30:.0f} GiB of memory, Linux {machine['kernel']}"

    def described(key):
        return f"{_size(measured[key]['bytes'])} in {measured[key]['files']} files" if key in measured else "not measured"

    file = _size(measured["file"]["bytes"]) if "file" in measured else "not measured"
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
