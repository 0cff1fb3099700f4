"""Runs the cases: the tools in turns, each from the same machine state, each result compared with the original."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

from . import measure, tools

LIMITS = "limits"


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Bench:
    """Context that all runs share."""

    servers: object
    programs: object
    cache: object
    destination: object

    def job(self, dataset, view):
        return tools.Job(dataset, view, self.destination, self.servers.certificate, self.programs, self.cache)

    @contextlib.contextmanager
    def clean_destination(self):
        """An empty folder, with no dirty pages left on the machine."""
        shutil.rmtree(self.destination, ignore_errors=True)
        self.destination.mkdir(parents=True)
        os.sync()
        try:
            yield self.destination
        finally:
            shutil.rmtree(self.destination, ignore_errors=True)

    @contextlib.contextmanager
    def view(self, case):
        """The addresses of a case, and its links to the servers."""
        if case.mirrors:
            with self.servers.mirrored(case.mirrors) as pair:
                yield pair
        elif case.shape:
            with self.servers.behind(case.shape) as pair:
                yield pair
        else:
            yield (self.servers.tls() if case.is_tls else self.servers.direct()), []

    def run_case(self, case, dataset, rounds):
        """All runs of a case, by the tool's key."""
        turns = list(case.tools)
        if not measure.MemoryGroup.is_available():
            turns = [key for key in turns if not tools.ALL[key].memory_limit]
        if case.with_limits:
            turns.append(LIMITS)
        runs = {key: [] for key in turns}
        for number in range(rounds if case.max_runs is None else min(rounds, case.max_runs)):
            # No tool always follows the same one.
            start = number % len(turns)
            for key in turns[start:] + turns[:start]:
                if number and key in case.once:
                    continue
                run = self.limits(dataset) if key == LIMITS else self.run_tool(case, dataset, tools.ALL[key])
                runs[key].append(run)
                say(f"{case.key} {number + 1}: {_in_words(key, run)}")
        return runs

    def run_tool(self, case, dataset, tool):
        dataset.warm()
        with self.clean_destination() as folder, self.view(case) as (view, links):
            command = tool.command(self.job(dataset, view))
            before = self.servers.log_length()
            run = measure.run(command, folder, case.timeout_seconds, tool.memory_limit)
            paths = [command.results / file.path for file in dataset.files]
            is_complete = run.exit_code == 0 and all(path.is_file() for path in paths)
            synced = measure.sync(folder) if is_complete else None
            for link in links:
                link.stop()
            answers = self.servers.answers(before)
            wire = sum(link.to_clients for link in links) if links else sum(answer.sent for answer in answers)
            is_right = is_complete and has_right_bytes(dataset, command.results)
            if run.is_timed_out:
                say(f"{tool.key} did not finish within {case.timeout_seconds} s")
            elif not is_right:
                say(f"{tool.key} delivered wrong bytes (exit {run.exit_code}): {run.output[-1500:]}")
            return {
                "wall": run.wall_seconds, "cpu": run.cpu_seconds, "resident": run.peak_resident_bytes,
                "charged": run.peak_charged_bytes, "wire": wire, "sync": synced, "right": is_right, "timed_out": run.is_timed_out,
            }

    def limits(self, dataset):
        """Seconds that the disk alone and the hash alone take for these bytes."""
        with self.clean_destination() as folder:
            program = self.programs / "modelcache-test-limits"
            done = subprocess.run([program, folder, str(dataset.size)], check=True, capture_output=True, text=True)
        result = json.loads(done.stdout)
        in_flight = min(len([file for file in dataset.files if file.is_large]), os.cpu_count())
        write, sha256 = min(way["seconds"] for way in result["write"]), result["sha256_seconds"] / in_flight
        return {"write": write, "sha256": sha256, "wall": max(write, sha256), "ways": result["write"]}


def has_right_bytes(dataset, folder):
    """Whether every file exists with the right bytes."""
    for file in dataset.files:
        try:
            with open(folder / file.path, "rb") as data:
                if hashlib.file_digest(data, "sha256").hexdigest() != file.sha256:
                    return False
        except OSError:
            return False
    return True


def _in_words(key, run):
    if key == LIMITS:
        return f"limits: disk {run['write']:.2f} s, sha256 {run['sha256']:.2f} s"
    return (
        f"{key} {run['wall']:.2f} s, processor {run['cpu']:.2f} s, {run['resident'] / 2**20:.0f} MiB, wire {run['wire'] / 2**20:.0f} MiB,"
        f" sync {run['sync'] or 0:.2f} s{'' if run['right'] else ', WRONG'}"
    )


def machine():
    """The machine of the measurement."""
    model = memory = ""
    with open("/proc/cpuinfo") as text:
        model = next((line.split(":", 1)[1].strip() for line in text if line.startswith("model name")), "unknown")
    with open("/proc/meminfo") as text:
        memory = int(text.readline().split()[1]) * 1024
    return {"processor": model, "cores": os.cpu_count(), "memory": memory, "kernel": os.uname().release}


def disk(folder):
    """The file system type of a folder."""
    done = subprocess.run(["stat", "--file-system", "--format=%T", str(folder)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def today():
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
