"""The cases: which data is fetched over which network by which programs."""

import dataclasses

from .data import MIB
from .servers import MIRRORS, Shape

MEGABIT = 1_000_000 // 8
GIB = 1024 * MIB
TIMEOUT_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of the test data, in bytes."""

    file: int
    narrow_file: int
    model: int
    mirror_bytes_per_second: int


FULL = Sizes(file=4 * GIB, narrow_file=GIB, model=4 * GIB, mirror_bytes_per_second=50_000_000)
# For a comparison of two builds, which needs many runs.
COMPARED = Sizes(file=GIB, narrow_file=256 * MIB, model=GIB, mirror_bytes_per_second=50_000_000)
QUICK = Sizes(file=64 * MIB, narrow_file=16 * MIB, model=32 * MIB, mirror_bytes_per_second=40_000_000)


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison, in which the tools take turns."""

    key: str
    title: str
    # Which dataset: file, narrow_file or model.
    dataset: str
    tools: tuple[str, ...]
    minutes: int
    is_tls: bool = False
    shape: Shape | None = None
    mirrors: tuple[Shape, ...] = ()
    # Tools that take minutes here run once.
    once: tuple[str, ...] = ()
    # A tool that runs longer is killed.
    timeout_seconds: int = TIMEOUT_SECONDS
    # If the network sets the pace, not the machine, runs vary little.
    max_runs: int | None = None
    with_limits: bool = False


OURS = ("modelcache", "modelcache-default")
ARIA2 = ("aria2", "aria2-checksum", "aria2-tuned", "aria2-tuned-checksum")
OTHERS = ("curl-sha256sum", "axel-openssl", "hub", "hub-openssl", "transfer", "transfer-openssl", "modelscope")
VERIFYING = ("aria2-checksum", "aria2-tuned-checksum", "curl-sha256sum", "axel-openssl", "hub-openssl", "transfer-openssl", "modelscope")
# Axel fetches one file only.
MODEL = (*OURS, "modelcache-128m", *ARIA2, "curl-sha256sum", "hub", "hub-openssl", "transfer", "transfer-openssl", "modelscope")
FAR_MODEL = (*OURS, *ARIA2[1:], "curl-sha256sum", "hub", "hub-openssl", "transfer-openssl", "modelscope")
MIRRORING = ("modelcache", "aria2-checksum", "aria2-tuned-checksum", "axel-openssl")


def all_cases(sizes):
    """Every case, in the order of execution."""
    rate = sizes.mirror_bytes_per_second
    even, slow = Shape(bytes_per_second=rate), Shape(bytes_per_second=rate // 100)
    return [
        Case("file", "One file from loopback", "file", (*OURS, "modelcache-128m", *ARIA2, *OTHERS), 14, with_limits=True),
        Case("file-tls", "One file from loopback by TLS", "file", (*OURS, *ARIA2, *OTHERS), 16, is_tls=True, with_limits=True),
        Case("file-20ms", "One file, 20 ms round trip", "file", (*OURS, *ARIA2[:2], *VERIFYING[1:]), 9,
             shape=Shape(round_trip_ms=20), max_runs=3),
        Case("file-100ms", "One file, 100 ms round trip", "file", (*OURS, *ARIA2[:2], *VERIFYING[1:]), 12,
             shape=Shape(round_trip_ms=100), max_runs=3),
        Case("file-50mbit", "One file, 50 Mbit/s a connection, 20 ms round trip", "narrow_file",
             (*OURS, *ARIA2, *VERIFYING[2:]), 16,
             shape=Shape(round_trip_ms=20, connection_bytes_per_second=50 * MEGABIT), max_runs=3,
             once=("curl-sha256sum", "hub-openssl")),
        Case("mirrors", "Three mirrors, each capped", "file", MIRRORING, 8, mirrors=(even,) * MIRRORS, max_runs=3),
        Case("mirrors-slow", "Three mirrors, one 100 times slower", "file", MIRRORING, 9, mirrors=(even, slow, even), max_runs=3,
             # Other tools wait minutes for the last piece of the slow mirror.
             once=MIRRORING[1:], timeout_seconds=120),
        Case("model", "A model from loopback", "model", MODEL, 12, with_limits=True),
        Case("model-tls", "A model from loopback by TLS", "model", MODEL, 13, is_tls=True, with_limits=True),
        Case("model-20ms", "A model, 20 ms round trip", "model", FAR_MODEL, 8, shape=Shape(round_trip_ms=20), max_runs=3),
        Case("model-100ms", "A model, 100 ms round trip", "model", FAR_MODEL, 9, shape=Shape(round_trip_ms=100), max_runs=3),
    ]


# Not a comparison and therefore not a case: the bytes fetched again after a SIGKILL.
KILL = "kill"
KILL_TITLE = "SIGKILL at a random point, then again"
KILLS = 10
