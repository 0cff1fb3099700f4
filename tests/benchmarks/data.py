"""The test data: one large file, and a model of shards and small files. Created once and kept in the cache."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

MIB = 2**20
SHARDS = 16
SMALL_FILES = 40
COMMIT = "b" * 40
BLOCK = 8 * MIB


@dataclasses.dataclass(frozen=True)
class File:
    """A file with the metadata that a hub lists for it."""

    path: str
    size: int
    sha256: str
    git_sha1: str

    @property
    def is_large(self):
        """Whether a hub would store it as a large file (LFS)."""
        return self.path.endswith(".safetensors")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A repository, in the folder `root`/`repo`."""

    root: pathlib.Path
    repo: str
    files: tuple[File, ...]

    @property
    def folder(self):
        return self.root / self.repo

    @property
    def size(self):
        return sum(file.size for file in self.files)

    def warm(self):
        """Reads all files, so that the servers send from the page cache."""
        buffer = memoryview(bytearray(BLOCK))
        for file in self.files:
            with open(self.folder / file.path, "rb", buffering=0) as data:
                while data.readinto(buffer):
                    pass


def one_file(root, size):
    """A repository of one large file."""
    return _dataset(root, f"bench/file-{size // MIB}m", {"model.safetensors": size})


def model(root, size):
    """A repository of shards, an index, and small files as models have them."""
    shard = size // SHARDS
    sizes = {f"model-{number:05}-of-{SHARDS:05}.safetensors": shard for number in range(1, SHARDS + 1)}
    sizes |= {"model.safetensors.index.json": 0}
    small = SMALL_FILES - 1
    sizes |= {f"{'tokenizer' if number % 2 else 'code'}/part-{number:02}.json": 700 + number * 3001 for number in range(small)}
    return _dataset(root, f"bench/model-{size // MIB}m", sizes)


def _dataset(root, repo, sizes):
    folder, listing = root / repo, root / f"{repo}.json"
    if not listing.exists():
        shutil.rmtree(folder, ignore_errors=True)
        files = [dataclasses.asdict(_write(folder, path, size, sizes)) for path, size in sizes.items()]
        listing.write_text(json.dumps(files))
    return Dataset(root, repo, tuple(File(**file) for file in json.loads(listing.read_text())))


def _write(folder, path, size, sizes):
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    start = b""
    if path.endswith(".index.json"):
        start = json.dumps({
            "metadata": {"total_size": sum(size for name, size in sizes.items() if name.endswith(".safetensors"))},
            "weight_map": {_tensor(name): name for name in sizes if name.endswith(".safetensors")},
        }).encode()
        size = len(start)
    elif path.endswith(".json"):
        start, size = json.dumps({"noise": os.urandom(size // 2).hex()}).encode(), None
        size = len(start)
    elif path.endswith(".safetensors"):
        start = _header(path, size)
    sha256, git_sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
    with open(target, "wb") as out:
        left, block = size, start
        while left:
            block = block or os.urandom(min(BLOCK, left))
            for sink in (sha256.update, git_sha1.update, out.write):
                sink(block)
            left, block = left - len(block), b""
    return File(path, size, sha256.hexdigest(), git_sha1.hexdigest())


def _tensor(path):
    return path.removesuffix(".safetensors").replace("-", ".")


def _header(path, size):
    """The header of a safetensors file of this size with one tensor."""
    length = 256
    data = size - 8 - length
    header = json.dumps({_tensor(path): {"dtype": "U8", "shape": [data], "data_offsets": [0, data]}})
    return length.to_bytes(8, "little") + header.encode().ljust(length)
