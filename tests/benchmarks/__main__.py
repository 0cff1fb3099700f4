"""Entry point of tests/bench, which has the description."""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

from . import against, cases, data, figures, kill, report, runs, servers, tools

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
ATTACHED = ROOT / "docs" / "benchmarks"


def main():
    arguments = _arguments()
    sizes = cases.QUICK if arguments.quick else cases.COMPARED if arguments.against else cases.FULL
    every = cases.all_cases(sizes)
    if arguments.list:
        for case in every:
            print(f"{case.key:12} {case.title} (about {case.minutes} minutes)")
        print(f"{cases.KILL:12} {cases.KILL_TITLE} (about 3 minutes)")
        return
    if arguments.against:
        if not _compare(arguments, sizes, every):
            sys.exit("bench: wrong bytes were fetched")
        return
    kept = arguments.cache / ("quick.json" if arguments.quick else "results.json")
    if not arguments.report:
        wanted = _wanted(arguments.only, [*(case.key for case in every), cases.KILL])
        results = _measure(arguments, sizes, [case for case in every if case.key in wanted], cases.KILL in wanted, kept)
        _fail_where_wrong(results, wanted)
    results = json.loads(kept.read_text())
    figures_reached = figures.all_figures(results)
    for line in report.figures_table(figures_reached):
        print(line)
    folder = arguments.cache / "quick" if arguments.quick else ATTACHED
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    _plot(arguments.cache, folder)
    document = folder / "benchmarks.md" if arguments.quick else DOCUMENT
    document.write_text(report.document(results, every, figures_reached))
    runs.say(f"wrote {document}")


def _arguments():
    parser = argparse.ArgumentParser(prog="tests/bench", description=__doc__)
    parser.add_argument("--cache", type=_absolute, required=True)
    parser.add_argument("--programs", type=_absolute)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", type=lambda text: text.split(","))
    parser.add_argument("--runs", type=int, default=None)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--against", type=_absolute)
    return parser.parse_args()


def _absolute(text):
    return pathlib.Path(text).resolve()


def _wanted(only, known):
    unknown = set(only or ()) - set(known)
    if unknown:
        sys.exit(f"bench: unknown case: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return set(only or known)


def _datasets(root, sizes):
    runs.say("creating missing test data")
    return {
        "file": data.one_file(root, sizes.file), "narrow_file": data.one_file(root, sizes.narrow_file),
        "model": data.model(root, sizes.model),
    }


@contextlib.contextmanager
def _bench(arguments, root, datasets):
    """The servers, and what all runs share."""
    # Servers and links end on every exit path.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended"))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="servers-", dir=arguments.cache))
    try:
        with servers.Servers(
            folder, root, datasets.values(), arguments.programs / "modelcache-test-link", servers.find_nginx(arguments.cache)
        ) as all_servers:
            yield runs.Bench(all_servers, arguments.programs, arguments.cache, arguments.cache / "destination")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compare(arguments, sizes, every):
    """Measures this build and another one in turns; the document is not written."""
    root = arguments.cache / "data"
    wanted = _wanted(arguments.only or against.CASES, [case.key for case in every])
    datasets = _datasets(root, sizes)
    with _bench(arguments, root, datasets) as bench:
        return against.compare(bench, every, datasets, arguments.against, wanted, arguments.runs or 3)


def _measure(arguments, sizes, wanted, with_kills, kept):
    """Runs the cases and writes the results after each, so that an interruption loses one case only."""
    rounds = arguments.runs or (1 if arguments.quick else 5)
    root = arguments.cache / "data"
    datasets = _datasets(root, sizes)
    results = json.loads(kept.read_text()) if kept.exists() and arguments.only else {"cases": {}}
    results |= {
        "machine": runs.machine(), "disk": runs.disk(arguments.cache),
        "versions": tools.versions(arguments.programs, arguments.cache),
    }
    with _bench(arguments, root, datasets) as bench:
        for case in wanted:
            runs.say(case.title)
            dataset = datasets[case.dataset]
            results["cases"][case.key] = _case_result(bench.run_case(case, dataset, rounds), dataset, case)
            kept.write_text(json.dumps(results))
        if with_kills:
            runs.say(cases.KILL_TITLE)
            killed = kill.run(bench, datasets["file"], 2 if arguments.quick else cases.KILLS)
            results["cases"][cases.KILL] = {"at": runs.today(), "commit": _commit(), "bytes": datasets["file"].size, "runs": killed}
            kept.write_text(json.dumps(results))
    return results


def _case_result(measured, dataset, case):
    caps = [shape.bytes_per_second for shape in case.mirrors]
    return {"at": runs.today(), "commit": _commit(), "bytes": dataset.size, "files": len(dataset.files), "caps": caps, "runs": measured}


def _fail_where_wrong(results, wanted):
    """Our own program must fetch the right bytes; wrong bytes of other tools are a result."""
    for key in wanted:
        measured = results["cases"][key]["runs"]
        if key == cases.KILL:
            ours = measured
        else:
            ours = [run for tool, all_runs in measured.items() if tool.startswith(tools.OURS) for run in all_runs]
        if not all(run.get("right", True) for run in ours):
            sys.exit(f"bench: modelcache fetched wrong bytes in {key}")


def _commit():
    """The last commit that changed the program."""
    git, of = ["git", "-C", ROOT], ["--", "Cargo.lock", "crds", "fetcher"]
    last = subprocess.run([*git, "log", "-1", "--format=%h", *of], capture_output=True, text=True, check=False).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", *of], capture_output=True, text=True, check=False).stdout.strip()
    return f"{last or 'unknown'}{' with changes' * bool(changed)}"


def _plot(cache, folder):
    script = pathlib.Path(__file__).with_name("plot.py")
    python = cache / "plot" / "bin" / "python"
    environment = os.environ | {"MPLCONFIGDIR": str(cache / "plot")}
    subprocess.run([python, script, folder / "results.json", folder / "wall.svg"], check=True, env=environment)


if __name__ == "__main__":
    main()
