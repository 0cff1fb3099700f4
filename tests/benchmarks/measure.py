"""Runs a program and measures it and its children: wall time, processor time, memory."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import threading
import time

SAMPLE_SECONDS = 0.02
V1 = pathlib.Path("/sys/fs/cgroup/memory")
V2 = pathlib.Path("/sys/fs/cgroup")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One run of a program and its children."""

    exit_code: int
    # Killed at its timeout.
    is_timed_out: bool
    wall_seconds: float
    cpu_seconds: float
    peak_resident_bytes: int
    # With its share of the page cache; None if the kernel does not report it.
    peak_charged_bytes: int | None
    output: str


class Run:
    """A running program. It leads its own process group, which `stop` signals. Use it in a `with`."""

    def __init__(self, command, folder, memory_limit=None):
        self.output = folder / "output"
        self.group = MemoryGroup(memory_limit)
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        with open(self.output, "wb") as output:
            self.start = time.monotonic()
            self.process = subprocess.Popen(
                self.group.join(command.arguments), env=environment | command.environment, cwd=folder,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )
        self.memory = MemoryWatch(self.process.pid)
        self.memory.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # An exception ended the block before `wait`.
        if self.process.returncode is None:
            self.stop()
            self.process.wait()
            self.memory.stop()
            self.group.close()

    def stop(self, number=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def wait(self, timeout):
        """Waits until it exits; kills it at the timeout."""
        is_timed_out = threading.Event()
        watchdog = threading.Timer(timeout, lambda: (is_timed_out.set(), self.stop()))
        watchdog.start()
        try:
            # Covers the child and all children that it waited for.
            _, status, usage = os.wait4(self.process.pid, 0)
            wall = time.monotonic() - self.start
        finally:
            watchdog.cancel()
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.memory.stop()
        text = self.output.read_text(errors="replace")
        return Measurement(
            self.process.returncode, is_timed_out.is_set(), wall, usage.ru_utime + usage.ru_stime, self.memory.peak,
            self.group.close(), text[-4000:],
        )


def run(command, folder, timeout, memory_limit=None):
    """Runs a program until it exits."""
    with Run(command, folder, memory_limit) as running:
        return running.wait(timeout)


class MemoryWatch(threading.Thread):
    """Samples the resident memory of a process and its children, and keeps the peak of the sum.

    The kernel keeps the peak of each single process, so no sample misses it.
    """

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root, self.peak = root, 0
        self.ended = threading.Event()

    def run(self):
        pids, samples = [self.root], 0
        while not self.ended.is_set():
            if samples % 5 == 0:
                pids = _family(self.root)
            samples += 1
            now = [_resident(pid) for pid in pids]
            self.peak = max(self.peak, sum(resident for resident, _ in now), *(highest for _, highest in now))
            self.ended.wait(SAMPLE_SECONDS)

    def stop(self):
        self.ended.set()
        self.join()


def _family(root):
    pids, todo = [], [root]
    while todo:
        pid = todo.pop()
        pids.append(pid)
        with contextlib.suppress(OSError):
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                todo += [int(child) for child in children.read_text().split()]
    return pids


def _resident(pid):
    """Resident bytes now, and their peak."""
    now = highest = 0
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                now = int(line.split()[1]) * 1024
            elif line.startswith("VmHWM:"):
                highest = int(line.split()[1]) * 1024
    return now, highest


class MemoryGroup:
    """A memory control group if this process may create one; otherwise a no-op."""

    numbers = iter(range(10**9))

    def __init__(self, limit=None):
        self.folder = None
        self.is_v1 = V1.is_dir()
        parent = V1 if self.is_v1 else V2
        folder = parent / f"modelcache-bench-{os.getpid()}-{next(self.numbers)}"
        try:
            folder.mkdir()
        except OSError:
            return
        if not (folder / self._peak_file()).exists():
            folder.rmdir()
            return
        self.folder = folder
        if limit is not None:
            (folder / ("memory.limit_in_bytes" if self.is_v1 else "memory.max")).write_text(str(limit))

    def _peak_file(self):
        return "memory.max_usage_in_bytes" if self.is_v1 else "memory.peak"

    def join(self, arguments):
        """A command that joins the group and then executes the given one."""
        if self.folder is None:
            return arguments
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.folder / "cgroup.procs"), *arguments]

    def close(self):
        """Removes the group and returns the peak of the bytes charged to it."""
        if self.folder is None:
            return None
        peak = int((self.folder / self._peak_file()).read_text())
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        return peak

    @classmethod
    def is_available(cls):
        group = cls()
        return group.close() is not None


def sync(folder):
    """Syncs the file system and returns the seconds that it took."""
    start = time.monotonic()
    subprocess.run(["sync", "--file-system", folder], check=True)
    return time.monotonic() - start
