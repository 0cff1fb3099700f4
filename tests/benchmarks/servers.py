"""The servers: one nginx that serves plain files and the responses of a Hugging Face hub and of ModelScope, over plain HTTP,
over TLS, and behind links with added latency or limited bandwidth."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.parse

from . import hubs

HOST = "127.0.0.1"
MIRRORS = 3


@dataclasses.dataclass(frozen=True)
class Shape:
    """The network path to a server; without values: loopback."""

    round_trip_ms: int = 0
    connection_bytes_per_second: int | None = None
    bytes_per_second: int | None = None

    def arguments(self):
        named = {
            "--round-trip": self.round_trip_ms,
            "--connection-bytes-per-second": self.connection_bytes_per_second,
            "--bytes-per-second": self.bytes_per_second,
        }
        return [text for name, value in named.items() if value for text in (name, str(value))]


@dataclasses.dataclass(frozen=True)
class View:
    """The addresses that a client gets."""

    hub: str
    files: str
    mirrors: tuple[str, ...]
    is_tls: bool = False


@dataclasses.dataclass(frozen=True)
class PortPair:
    """A port of nginx, and the port that clients connect to."""

    port: int
    public: int


@dataclasses.dataclass(frozen=True)
class Answer:
    """One line of the log."""

    sent: int
    body: int
    client_port: int
    # Offset in the file of the first byte of the body.
    offset: int

    @classmethod
    def parse(cls, line):
        sent, body, client_port, *_, asked = line.split()
        offset = asked.removeprefix("bytes=").split("-")[0] if asked.startswith("bytes=") else 0
        return cls(int(sent), int(body), int(client_port), int(offset))


class Servers:
    """All servers. Use it in a `with`."""

    def __init__(self, folder, data, datasets, link_program, nginx_program):
        self.folder, self.data, self.datasets = folder, data, datasets
        self.link_program = link_program
        self.log = folder / "access.log"
        self.certificate = folder / "ca.pem"
        ports = iter(_free_ports(6 + 2 + MIRRORS))
        self.ports = {name: PortPair(port, port) for name in ("hub", "files", "tls hub", "tls files") for port in [next(ports)]}
        self.ports |= {name: PortPair(next(ports), next(ports)) for name in ("far hub", "far files")}
        self.mirror_ports = [next(ports) for _ in range(MIRRORS)]
        self.stack = contextlib.ExitStack()
        self.nginx_program = nginx_program

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            hubs.write(self.folder / "answers", self.datasets)
            self._make_certificates()
            config = self.folder / "nginx.conf"
            config.write_text(self._config())
            process = subprocess.Popen([self.nginx_program, "-p", self.folder, "-c", config, "-e", self.folder / "error.log"])
            stack.callback(_stop, process)
            for pair in self.ports.values():
                _wait_for(pair.port, process)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def direct(self):
        """Without a link in between."""
        return self._view("http", "hub", "files")

    def tls(self):
        return dataclasses.replace(self._view("https", "tls hub", "tls files"), is_tls=True)

    @contextlib.contextmanager
    def behind(self, shape):
        """The hub and its files behind links of this shape; yields the view and the links."""
        with contextlib.ExitStack() as stack:
            ports = [self.ports["far hub"], self.ports["far files"]]
            links = [stack.enter_context(self._link(pair.public, pair.port, shape)) for pair in ports]
            yield self._view("http", "far hub", "far files"), links

    @contextlib.contextmanager
    def mirrored(self, shapes):
        """The files at several addresses, each behind its own link."""
        with contextlib.ExitStack() as stack:
            port = self.ports["files"].port
            ports = self.mirror_ports[: len(shapes)]
            links = [stack.enter_context(self._link(public, port, shape)) for public, shape in zip(ports, shapes, strict=True)]
            urls = tuple(f"http://{HOST}:{public}" for public in ports)
            yield View(self.direct().hub, urls[0], urls), links

    def answers(self, offset):
        """Responses logged after this offset; waits until the log is complete."""
        before, since = -1, time.monotonic()
        while (size := self.log.stat().st_size) != before or time.monotonic() - since < 0.3:
            if size != before:
                before, since = size, time.monotonic()
            time.sleep(0.02)
        with open(self.log) as log:
            log.seek(offset)
            return [Answer.parse(line) for line in log]

    def log_length(self):
        return self.log.stat().st_size

    def _view(self, scheme, hub, files):
        hub, files = (f"{scheme}://{HOST}:{self.ports[name].public}" for name in (hub, files))
        return View(hub, files, (files,))

    @contextlib.contextmanager
    def _link(self, public, port, shape):
        link = Link([self.link_program, "--listen", f"{HOST}:{public}", "--to", f"{HOST}:{port}", *shape.arguments()])
        try:
            _wait_for(public, link.process)
            yield link
        finally:
            link.stop()

    def _make_certificates(self):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7",
                "-subj", "/CN=bench", "-addext", "basicConstraints=critical,CA:TRUE",
                "-keyout", self.folder / "ca.key", "-out", self.certificate)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={HOST}",
                "-keyout", self.folder / "server.key", "-out", self.folder / "server.csr")
        names = self.folder / "names"
        names.write_text(f"subjectAltName=IP:{HOST},DNS:localhost\nextendedKeyUsage=serverAuth\n")
        openssl("x509", "-req", "-days", "7", "-in", self.folder / "server.csr", "-CA", self.certificate,
                "-CAkey", self.folder / "ca.key", "-CAcreateserial", "-extfile", names,
                "-out", self.folder / "server.pem")

    def _config(self):
        tls = f"ssl_certificate {self.folder}/server.pem; ssl_certificate_key {self.folder}/server.key;"
        servers = []
        for hub, files, scheme in [("hub", "files", "http"), ("tls hub", "tls files", "https"), ("far hub", "far files", "http")]:
            listen = " ssl" if scheme == "https" else ""
            cdn = f"{scheme}://{HOST}:{self.ports[files].public}"
            servers.append(f"""
    server {{
        listen {HOST}:{self.ports[hub].port}{listen}; {tls if listen else ""}
        root {self.data}; default_type application/json;
        set $cdn {cdn};
        include {self.folder}/answers/locations.conf;
    }}
    server {{
        listen {HOST}:{self.ports[files].port}{listen} backlog=1024; {tls if listen else ""}
        root {self.data};
    }}""")
        user = "user root;" if os.geteuid() == 0 else ""
        return f"""{user}
daemon off;
worker_processes auto;
pid {self.folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    log_format bench '$bytes_sent $body_bytes_sent $remote_port $status $request $http_range';
    access_log {self.log} bench;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    ssl_session_cache shared:tls:4m;
    client_body_temp_path {self.folder}/tmp;
    proxy_temp_path {self.folder}/tmp;
    fastcgi_temp_path {self.folder}/tmp;
    uwsgi_temp_path {self.folder}/tmp;
    scgi_temp_path {self.folder}/tmp;
    include {self.folder}/answers/maps.conf;
    {"".join(servers)}
}}
"""


class Link:
    """A relay that adds latency or limits bandwidth on the path to a server."""

    def __init__(self, arguments):
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        self.to_clients = None

    def stop(self):
        """Stops the relay and stores the bytes that it sent to clients in `to_clients`."""
        if self.to_clients is None:
            self.process.terminate()
            output, _ = self.process.communicate(timeout=20)
            self.to_clients = int(output or 0)


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def find_nginx(cache):
    """The installed nginx, or the one that tests/bench put into the cache."""
    return shutil.which("nginx", path="/usr/sbin") or str(pathlib.Path(cache) / "nginx")


def file_url(base, dataset, file):
    return f"{base}/{dataset.repo}/{urllib.parse.quote(file.path)}"


def _free_ports(count):
    """Free ports; all are bound at once, so that no port is returned twice."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_for(port, process):
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"{process.args[0]} does not listen on {HOST}:{port}")


def _stop(process):
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
