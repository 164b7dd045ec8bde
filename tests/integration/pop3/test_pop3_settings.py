"""pop3d's settings, where they change what a client sees."""

import poplib
import re
import ssl

import pytest

from tests.fakes.instance import PATIENCE, Instance

ALICE = "alice@example.test"


def log_in(instance: Instance) -> poplib.POP3:
    client = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=PATIENCE)
    client.user(ALICE)
    client.pass_(instance.credentials[ALICE])
    return client


def test_flagged_messages_are_hidden_and_kept_and_logins_are_delayed() -> None:
    main = {"pop3d_delete_type": "flag", "pop3d_uidl_format": "%u-%v", "pop3d_login_delay": "1h"}
    with Instance(services=("pop3",), main=main) as instance:
        for count in (1, 2):
            instance.send(ALICE, f"Subject: {count}\r\n\r\nx\r\n")
            instance.log.wait("status=sent", count)
        client = log_in(instance)
        assert client.capa()["LOGIN-DELAY"] == ["3600"]
        assert all(re.fullmatch(rb"\d \d-\d+", line) for line in client.uidl()[1])
        client.dele(1)
        client.quit()
        with pytest.raises(poplib.error_proto, match=r"\[LOGIN-DELAY\]"):
            log_in(instance)
        (instance.mail / "example.test/alice/tubepost.pop3").unlink()
        client = log_in(instance)
        assert client.stat()[0] == 1
        assert b"Subject: 2" in client.retr(1)[1]
        client.quit()
        files = [path for part in ("new", "cur") for path in (instance.mail / "example.test/alice" / part).iterdir()]
        assert len(files) == 2


def test_a_silent_client_is_left_without_a_word() -> None:
    with Instance(services=("pop3",), main={"pop3d_timeout": "1s", "pop3d_login_timeout": "1s"}) as instance:
        client = log_in(instance)
        # RFC 1939 3: no response, and nothing is removed.
        assert client.file.read() == b""
        instance.log.wait(r"disconnected \(timeout\)")
        client = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=PATIENCE)
        assert client.file.read() == b""


def test_apop_where_passwords_are_stored_in_clear() -> None:
    instance = Instance(
        services=("pop3",),
        main={"auth_backends": "passwd-file:$config_directory/passwd", "auth_mechanisms": "PLAIN, APOP"},
    )
    instance.write_table("passwd", f"{ALICE}:{{PLAIN}}tanstaaf::::::\n").chmod(0o644)
    with instance:
        client = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=PATIENCE)
        assert re.search(rb"<[0-9a-f]+\.[0-9]+@[^>]+>$", client.getwelcome())
        assert client.capa()["SASL"] == ["PLAIN"]
        with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
            client.apop(ALICE, "wrong")
        client.apop(ALICE, "tanstaaf")
        assert client.stat()[0] == 0
        client.quit()
        other = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=PATIENCE)
        assert other.getwelcome() != client.getwelcome()
        other.quit()


def test_tls_that_is_required_is_required_of_this_host_too() -> None:
    with Instance(services=("pop3",), main={"pop3d_tls_security_level": "encrypt"}) as instance:
        client = poplib.POP3("127.0.0.1", instance.ports["pop3"], timeout=PATIENCE)
        assert not {"USER", "SASL"} & client.capa().keys()
        with pytest.raises(poplib.error_proto, match="use STLS"):
            client.user(ALICE)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client.stls(context)
        client.user(ALICE)
        client.pass_(instance.credentials[ALICE])
        client.quit()
