"""Postfix's smtp-sink as the next server: a real instance relays to it, in its many moods; also over LMTP."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.dns import DnsServer
from tests.fakes.instance import Instance, free_port

SINK = shutil.which("smtp-sink", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
pytestmark = pytest.mark.skipif(SINK is None, reason="smtp-sink (package postfix) is not installed")

RELAY = {"mynetworks": "127.0.0.0/8", "smtpd_relay_restrictions": "permit_mynetworks, reject"}


def wait_for(target: str) -> None:
    host, _, port = target.rpartition(":")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)


@contextmanager
def sink(folder: Path, *options: str, address: str = "") -> Iterator[tuple[str, Path]]:
    """Its next hop, and the folder with one file a message (-d)."""
    target = address or f"127.0.0.1:{free_port()}"
    dump = folder / "dump"
    dump.mkdir(mode=0o777, exist_ok=True)
    assert SINK is not None
    user = ["-u", "root"] if os.geteuid() == 0 else []
    process = subprocess.Popen([SINK, *user, *options, "-d", f"{dump}/%M.", target, "100"], stderr=subprocess.DEVNULL)
    try:
        if not target.startswith("unix:"):
            wait_for(target)
        host, _, port = target.rpartition(":")
        yield (target if address else f"[{host}]:{port}"), dump
    finally:
        process.terminate()
        process.wait(10)


KINDS = [(), ("-p",), ("-e",), ("-a", "-E", "-N"), ("-8",)]
MOODS = [
    (("-q", "connect"), "deferred"),
    (("-q", "mail"), "deferred"),
    (("-q", "rcpt"), "deferred"),
    (("-q", "data"), "deferred"),
    (("-q", "."), "deferred"),
    (("-r", "mail"), "deferred"),
    (("-r", "rcpt"), "deferred"),
    (("-r", "data"), "deferred"),
    (("-r", "."), "deferred"),
    (("-f", "mail"), "bounced"),
    (("-f", "rcpt"), "bounced"),
    (("-f", "data"), "bounced"),
    (("-f", "."), "bounced"),
    (("-f", "ehlo"), "sent"),
]
ALL = [*KINDS, *(options for options, _ in MOODS)]


def domain_of(options: tuple[str, ...]) -> str:
    return f"sink{ALL.index(options)}.example"


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {domain_of(options): free_port() for options in ALL}


@pytest.fixture(scope="module")
def instance(ports: dict[str, int]) -> Iterator[Instance]:
    """One instance that sends each of these domains to a port of its own."""
    routes = ", ".join(f"{domain}=smtp:[127.0.0.1]:{port}" for domain, port in ports.items())
    with Instance(main={**RELAY, "transport_maps": f"inline:{{{routes}}}"}) as running:
        yield running


@pytest.mark.parametrize("options", KINDS, ids=lambda options: "".join(options) or "all")
def test_relay(tmp_path: Path, instance: Instance, ports: dict[str, int], options: tuple[str, ...]) -> None:
    domain = domain_of(options)
    with sink(tmp_path, *options, address=f"127.0.0.1:{ports[domain]}") as (_, dump):
        instance.send([f"a@{domain}", f"b@{domain}"], "Subject: dots\n\n.\n..two\nend\n")
        instance.log.wait(rf"to=<[ab]@{domain}>.* status=sent \(250", 2)
        (file,) = dump.iterdir()
        text = file.read_text()
    assert f"X-Rcpt-Args: <a@{domain}>" in text
    assert text.rstrip().endswith(".\n..two\nend")


@pytest.mark.parametrize(
    ("options", "status"), MOODS, ids=lambda value: "".join(value) if isinstance(value, tuple) else value
)
def test_moods(
    tmp_path: Path, instance: Instance, ports: dict[str, int], options: tuple[str, ...], status: str
) -> None:
    domain = domain_of(options)
    with sink(tmp_path, *options, address=f"127.0.0.1:{ports[domain]}"):
        instance.send([f"a@{domain}"], "Subject: x\n\nx\n")
        (found,) = instance.log.wait(rf"to=<a@{domain}>.* status=(\w+) ")
    assert found[1] == status, found.string


def test_by_mx(tmp_path: Path) -> None:
    with sink(tmp_path) as (nexthop, dump), DnsServer() as dns:
        dns.add("x.example", "MX", "10 down.example.", "20 up.example.")
        dns.add("down.example", "A", "127.0.0.9")
        dns.add("up.example", "A", "127.0.0.1")
        port = nexthop.rpartition(":")[2]
        with Instance(main={**RELAY, "dns_nameservers": dns.address, "smtp_tcp_port": port}) as instance:
            instance.send(["a@x.example"], "Subject: x\n\nx\n")
            instance.log.wait(rf"relay=up\.example\[127\.0\.0\.1\]:{port},.*status=sent")
        assert len(list(dump.iterdir())) == 1


def test_connections_are_reused_under_load(tmp_path: Path) -> None:
    source = shutil.which("smtp-source", path="/usr/sbin:" + os.environ.get("PATH", ""))
    assert source is not None
    with sink(tmp_path) as (nexthop, dump), Instance(main={**RELAY, "relayhost": nexthop}) as instance:
        load = ["-s", "5", "-m", "200", "-l", "2000", "-t", "a@x.example"]
        subprocess.run([source, *load, f"127.0.0.1:{instance.port}"], check=True)
        instance.log.wait("status=sent", 200)
        assert len(list(dump.iterdir())) == 200
        assert instance.log.count("conn_use=") > 100


def test_lmtp(tmp_path: Path) -> None:
    folder = Path(f"/tmp/tp-lmtp-{os.getpid()}")
    folder.mkdir(exist_ok=True)
    try:
        path = folder / "s"
        with sink(tmp_path, "-L", address=f"unix:{path}") as (_, dump):
            deadline = time.monotonic() + 10
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            path.chmod(0o666)
            main = {**RELAY, "default_transport": f"lmtp:unix:{path}", "relayhost": ""}
            with Instance(main=main) as instance:
                instance.send(["a@x.example", "b@x.example"], "Subject: x\n\nx\n")
                instance.log.wait(r"postfix/lmtp\[\d+\]: .*status=sent", 2)
            assert len(list(dump.iterdir())) == 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
