"""How much is fetched again after a SIGKILL at a random point."""

import collections
import random
import signal
import time

from . import cases, measure, tools
from .runs import has_right_bytes, say


def run(bench, dataset, count):
    """Kills the fetcher and restarts it `count` times, each in an empty folder; returns what each run fetched twice."""
    tool = tools.ALL[tools.OURS]
    view = bench.servers.direct()
    dataset.warm()
    with bench.clean_destination() as folder:
        whole = measure.run(tool.command(bench.job(dataset, view)), folder, cases.TIMEOUT_SECONDS)
    if whole.exit_code:
        raise RuntimeError(f"the fetcher fails without a kill: {whole.output}")
    runs, moments = [], random.Random(20260101)
    while len(runs) < count:
        moment = whole.wall_seconds * moments.uniform(0.05, 0.95)
        with bench.clean_destination() as folder:
            result = _once(bench, tool, dataset, view, folder, moment)
        # On a fast machine the run may end before the kill.
        if result is None:
            continue
        runs.append(result)
        say(f"kill {len(runs)}: after {moment:.2f} s and {result['first'] / 2**20:.0f} MiB, {_mebibytes(result['again'])} again,"
            f" {_mebibytes(result['unread'])} unread in sockets{'' if result['right'] else ', WRONG'}")
    return runs


def _once(bench, tool, dataset, view, folder, moment):
    command = tool.command(bench.job(dataset, view))
    before = bench.servers.log_length()
    port = int(view.files.rsplit(":", 1)[1])
    with measure.Run(command, folder) as first:
        time.sleep(moment)
        # Stopped first, to separate the bytes it has read from those in the kernel's buffers.
        first.stop(signal.SIGSTOP)
        time.sleep(0.3)
        unread = _unread(port)
        first.stop(signal.SIGKILL)
        killed = first.wait(cases.TIMEOUT_SECONDS)
    received = _union(_read(bench.servers.answers(before), unread))
    if killed.exit_code == 0:
        return None
    if killed.exit_code != -signal.SIGKILL:
        raise RuntimeError(f"the fetcher failed before the kill: {killed.output}")
    before = bench.servers.log_length()
    second = measure.run(command, folder, cases.TIMEOUT_SECONDS)
    received_then = _union(_read(bench.servers.answers(before), {}))
    is_right = second.exit_code == 0 and has_right_bytes(dataset, command.results)
    if not is_right:
        say(f"the run after a kill failed (exit {second.exit_code}): {second.output[-1500:]}")
    return {
        "moment": moment, "first": _length(received), "unread": sum(unread.values()), "second": _length(received_then),
        "again": _length(received) + _length(received_then) - _length(_union(received + received_then)), "right": is_right,
    }


def _unread(port):
    """Bytes that the server has sent and the client has not read, by the client's port."""
    unread = collections.Counter()
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            _, local, remote, _, queues, *_ = line.split()
            to_send, to_read = (int(text, 16) for text in queues.split(":"))
            local, remote = (int(text.rsplit(":", 1)[1], 16) for text in (local, remote))
            if local == port:
                unread[remote] += to_send
            elif remote == port:
                unread[local] += to_read
    return unread


def _read(answers, unread):
    """The ranges of the file that the client has read: what was sent, minus the unread end of each connection."""
    left = collections.Counter(unread)
    for answer in reversed(answers):
        cut = min(left[answer.client_port], answer.body)
        left[answer.client_port] -= cut
        yield answer.offset, answer.offset + answer.body - cut


def _union(ranges):
    """The same bytes as sorted ranges without overlap."""
    merged = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _length(ranges):
    return sum(end - start for start, end in ranges)


def _mebibytes(count):
    return f"{count / 2**20:.1f} MiB"
