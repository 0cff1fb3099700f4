"""The compared programs: how each fetches a dataset, with the options that its documentation recommends for speed."""

import dataclasses
import pathlib
import shlex
import subprocess
from collections.abc import Callable

from . import servers
from .data import MIB, Dataset

OURS = "modelcache"
CONNECTIONS = 16
# How the result is verified. The SHA-256 of openssl uses the processor's instructions, that of sha256sum does not everywhere;
# sha256sum is used once, because that is what people type.
WHILE_FETCHING, AFTERWARDS, NO = "while fetching", "afterwards", "no"


@dataclasses.dataclass(frozen=True)
class Job:
    """What to fetch, where from, and where to."""

    dataset: Dataset
    view: servers.View
    folder: pathlib.Path
    certificate: pathlib.Path
    programs: pathlib.Path
    cache: pathlib.Path

    @property
    def file(self):
        """The one file of a dataset of one file."""
        (file,) = self.dataset.files
        return file

    def url(self, file, base=None):
        return servers.file_url(base or self.view.files, self.dataset, file)

    def python(self, environment, program):
        return str(self.cache / environment / "bin" / program)


@dataclasses.dataclass(frozen=True)
class Command:
    """How to start a tool, and where its files are afterwards."""

    arguments: list[str]
    results: pathlib.Path
    environment: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Tool:
    """One program with one set of options."""

    key: str
    label: str
    verifies: str
    command: Callable[[Job], Command]
    is_durable: bool = False
    memory_limit: int | None = None


def _ours(connections):
    def command(job):
        files = job.dataset.files
        if len(files) == 1:
            file = job.file
            address, *mirrors = (f"{job.url(file, base)}#sha256={file.sha256}" for base in job.view.mirrors)
            source = [address, *(text for mirror in mirrors for text in ("--mirror", mirror))]
        else:
            source = [f"hf://{job.dataset.repo}", "--endpoint", job.view.hub, "--no-default-exclude"]
        arguments = [str(job.programs / "modelcache-fetcher"), "fetch", *source, str(job.folder / "out"), "--json", "--quiet"]
        if connections:
            arguments += ["--connections", str(connections)]
        return Command(arguments, job.folder / "out" / "current", _trust(job))

    return command


def _aria2(*options, with_checksum):
    def command(job):
        common = [
            "aria2c", "--no-conf", "--console-log-level=error", "--summary-interval=0", "--download-result=hide",
            f"-x{CONNECTIONS}", f"-s{CONNECTIONS}", *options, f"--ca-certificate={job.certificate}",
        ]
        if len(job.dataset.files) == 1:
            file = job.file
            checksum = [f"--checksum=sha-256={file.sha256}"] if with_checksum else []
            urls = [job.url(file, base) for base in job.view.mirrors]
            return Command([*common, *checksum, "-d", str(job.folder), "-o", file.path, *urls], job.folder)
        lines = []
        for file in job.dataset.files:
            lines += [job.url(file), f"  out={file.path}"]
            lines += [f"  checksum=sha-256={file.sha256}"] if with_checksum else []
        listed = job.folder / "aria2.list"
        listed.write_text("\n".join(lines) + "\n")
        # The default is 5 files at once; with small files, more is faster.
        at_once = ["-j16"] if options else []
        return Command([*common, *at_once, "-d", str(job.folder), "-i", str(listed)], job.folder)

    return command


def _curl(verify):
    def command(job):
        lines = [f'url = "{job.url(file)}"\noutput = "{job.folder / file.path}"' for file in job.dataset.files]
        config = job.folder / "curl.config"
        config.write_text("\n".join(lines) + "\n")
        fetch = ["curl", "--silent", "--show-error", "--fail", "--create-dirs", "--cacert", str(job.certificate)]
        fetch += ["--parallel", "--parallel-max", str(CONNECTIONS)] if len(lines) > 1 else []
        return _then(job, [*fetch, "--config", str(config)], job.folder, verify)

    return command


def _axel(job):
    # Axel compares the names of a certificate only, not its addresses.
    tls = ["--insecure"] if job.view.is_tls else []
    output = f"--output={job.folder / job.file.path}"
    urls = [job.url(job.file, base) for base in job.view.mirrors]
    arguments = ["axel", "--quiet", *tls, f"--num-connections={CONNECTIONS}", output, *urls]
    return _then(job, arguments, job.folder, _openssl)


def _hub(environment, extra, verify):
    def command(job):
        arguments = [job.python(environment, "hf"), "download", job.dataset.repo]
        arguments += [file.path for file in job.dataset.files] if len(job.dataset.files) == 1 else []
        variables = _trust(job) | {
            "HF_ENDPOINT": job.view.hub, "HF_HOME": str(job.folder / "home"), "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        return _then(job, [*arguments, "--local-dir", str(job.folder / "out")], job.folder / "out", verify, variables | extra)

    return command


def _model_scope(job):
    arguments = [job.python("modelscope", "modelscope"), "download", job.dataset.repo]
    # The whole model, even if it is one file: a file named alone is fetched in one stream and not verified.
    variables = _trust(job) | {
        "MODELSCOPE_ENDPOINT": job.view.hub, "MODELSCOPE_DOMAIN": job.view.hub.split("//")[1],
        "MODELSCOPE_CACHE": str(job.folder / "home"), "HOME": str(job.folder / "home"),
        # The default is one connection per file; 16 is the tool's own limit.
        "MODELSCOPE_DOWNLOAD_PARALLELS": str(CONNECTIONS),
    }
    return Command([*arguments, "--local-dir", str(job.folder / "out")], job.folder / "out", variables)


def _trust(job):
    """Variables that name the servers' certificate authority to the various TLS libraries."""
    if not job.view.is_tls:
        return {}
    return dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(job.certificate))


def _then(job, arguments, results, verify, environment=None):
    """A command, followed by a program that hashes the result."""
    if verify:
        script = f"set -e\n{shlex.join(arguments)}\n{verify(job, results)}\n"
        arguments = ["bash", "-c", script]
    return Command(arguments, results, environment or _trust(job))


def _sha256sum(job, results):
    return f"cd {shlex.quote(str(results))} && sha256sum --check --quiet {shlex.quote(str(_sums(job, '  ')))}"


def _openssl(job, results):
    paths = shlex.join(file.path for file in job.dataset.files)
    sums = shlex.quote(str(_sums(job, " *")))
    return f"cd {shlex.quote(str(results))} && openssl dgst -sha256 -r {paths} | cmp - {sums}"


def _sums(job, between):
    sums = job.folder / "sums"
    sums.write_text("".join(f"{file.sha256}{between}{file.path}\n" for file in job.dataset.files))
    return sums


TUNED = ("-k1M", "--file-allocation=falloc")
WITH_TRANSFER = {"HF_HUB_ENABLE_HF_TRANSFER": "1"}

ALL = {tool.key: tool for tool in [
    Tool(OURS, f"modelcache, {CONNECTIONS} connections", WHILE_FETCHING, _ours(CONNECTIONS), is_durable=True),
    Tool("modelcache-default", "modelcache, no options", WHILE_FETCHING, _ours(None), is_durable=True),
    Tool("modelcache-128m", f"modelcache, {CONNECTIONS} connections, 128 MiB limit", WHILE_FETCHING,
         _ours(CONNECTIONS), is_durable=True, memory_limit=128 * MIB),
    Tool("aria2", "aria2 -x16 -s16", NO, _aria2(with_checksum=False)),
    Tool("aria2-checksum", "aria2 -x16 -s16 --checksum", AFTERWARDS, _aria2(with_checksum=True)),
    Tool("aria2-tuned", "aria2 -x16 -s16 -k1M, falloc", NO, _aria2(*TUNED, with_checksum=False)),
    Tool("aria2-tuned-checksum", "aria2 -x16 -s16 -k1M, falloc, --checksum", AFTERWARDS, _aria2(*TUNED, with_checksum=True)),
    Tool("curl-sha256sum", "curl, then sha256sum", AFTERWARDS, _curl(_sha256sum)),
    Tool("axel-openssl", "axel -n16, then openssl dgst", AFTERWARDS, _axel),
    Tool("hub", "huggingface_hub", NO, _hub("huggingface_hub", {}, None)),
    Tool("hub-openssl", "huggingface_hub, then openssl dgst", AFTERWARDS, _hub("huggingface_hub", {}, _openssl)),
    Tool("transfer", "hf_transfer", NO, _hub("hf_transfer", WITH_TRANSFER, None)),
    Tool("transfer-openssl", "hf_transfer, then openssl dgst", AFTERWARDS, _hub("hf_transfer", WITH_TRANSFER, _openssl)),
    Tool("modelscope", "modelscope, 16 connections", AFTERWARDS, _model_scope),
]}


def versions(programs, cache):
    """The version that each program prints."""
    asked = {
        "modelcache": [programs / "modelcache-fetcher", "--version"],
        "aria2": ["aria2c", "--version"],
        "curl": ["curl", "--version"],
        "axel": ["axel", "--version"],
        "openssl": ["openssl", "version"],
        "sha256sum": ["sha256sum", "--version"],
        "nginx": [servers.find_nginx(cache), "-v"],
    }
    found = {}
    for name, command in asked.items():
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
        found[name] = (done.stdout or done.stderr).splitlines()[0]
    for environment in ("huggingface_hub", "hf_transfer", "modelscope"):
        for text in (cache / environment / "wanted").read_text().split():
            package, version = text.split("==")
            # An environment may hold another version of the package that another one is named for.
            found[package if package == environment else f"{package} (with {environment})"] = version
    return found
