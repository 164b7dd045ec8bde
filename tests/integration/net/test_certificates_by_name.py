"""tls_server_sni_maps: each server shows the certificate of the name that a client asks for."""

import hashlib
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tubepost.common.net import selfsigned
from tubepost.common.tables import compile as building

from tests.fakes.instance import PATIENCE, Instance, free_port

STARTS = {
    "smtp": (b"EHLO x\r\n", b"STARTTLS\r\n"),
    "imap": (b"", b"a STARTTLS\r\n"),
    "pop3": (b"", b"STLS\r\n"),
    "lmtp": (b"LHLO x\r\n", b"STARTTLS\r\n"),
}
LMTP = free_port()


def write(instance: Instance, name: str) -> bytes:
    """A new key and certificate for a name, in its file; the certificate's hash."""
    key, certificate = selfsigned.make([name])
    path = instance.conf / f"{name}.pem"
    path.write_bytes(key + certificate)
    path.chmod(0o600)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).digest()


def build(instance: Instance) -> None:
    source = instance.conf / "names"
    source.write_text(f"a.example {instance.conf}/a.example.pem\n.b.example {instance.conf}/b.example.pem\n")
    source.chmod(0o600)
    building.build("hash", str(source), building.Options(files=True))


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    made = Instance(
        services=("imap", "imaps", "pop3", "pop3s"),
        main={"tls_server_sni_maps": "hash:$config_directory/names", "smtpd_tls_loglevel": "1"},
        master=[f"127.0.0.1:{LMTP} inet n - n - - lmtpd"],
    )
    made.ports |= {"smtp": made.port, "lmtp": LMTP}
    for name in ("a.example", "b.example"):
        write(made, name)
    build(made)
    with made:
        yield made


def shown(instance: Instance, service: str, name: str | None) -> bytes:
    """The hash of the certificate that a client is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", instance.ports[service]), PATIENCE) as connection:
        if service in STARTS:
            connection.recv(4096)
            for command in STARTS[service]:
                if command:
                    connection.sendall(command)
                    connection.recv(4096)
        with context.wrap_socket(connection, server_hostname=name) as secure:
            return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").digest()


@pytest.mark.parametrize("service", ["smtp", "imap", "imaps", "pop3", "pop3s", "lmtp"])
def test_each_server(instance: Instance, service: str) -> None:
    default = shown(instance, service, None)
    one, other = shown(instance, service, "a.example"), shown(instance, service, "x.b.example")
    assert len({default, one, other}) == 3
    assert shown(instance, service, "c.example") == default
    program = service.removesuffix("s") + "d"
    instance.log.wait(rf"/{program}\[\d+\]: .*TLS connection established from \S+ to a\.example: TLSv1")
    instance.log.wait(rf"/{program}\[\d+\]: TLS SNI c\.example from \S+ not matched, using default chain")


def test_a_table_built_again_is_read_by_new_processes(instance: Instance) -> None:
    shown(instance, "imaps", "a.example")
    new = write(instance, "a.example")
    build(instance)
    deadline = time.monotonic() + PATIENCE
    # The files are looked at every few seconds, when a connection comes.
    while shown(instance, "imaps", "a.example") != new:
        assert time.monotonic() < deadline, "the new certificate is not shown"
        time.sleep(0.1)
    instance.log.wait("certificates by name have changed")


def test_a_table_that_must_be_asked_over_a_connection_is_refused_in_words() -> None:
    with Instance(services=("imaps",), main={"tls_server_sni_maps": "tcp:127.0.0.1:1"}) as made:
        socket.create_connection(("127.0.0.1", made.ports["imaps"]), PATIENCE).close()
        made.log.wait(r"tls_server_sni_maps.*answers over a connection: use a table on this machine")
