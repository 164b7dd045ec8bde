"""New instances, and what is looked up of the host."""

import ipaddress
import os
from pathlib import Path

import pytest

from tubepost.common.config import Config, ConfigError, host, load, master_cf
from tubepost.common.config.instance import read_credentials, write_instance


def test_an_embedded_instance_is_right(tmp_path: Path) -> None:
    made = write_instance(str(tmp_path / "var"), port_offset=7)
    config = load(made.config_directory)
    entries, faults = master_cf.read(f"{made.config_directory}/master.cf")
    assert faults == ()
    assert config.check(frozenset(entry.service for entry in entries)) == []
    assert (config.queue_directory, config.data_directory) == (made.queue_directory, made.data_directory)
    assert (config.mydomain, config.virtual_mailbox_domains) == ("example.test", ("accounts:domains",))
    # A domain in both classes would make its mailboxes unreachable.
    assert "example.test" not in config.mydestination
    addresses = [entry.service for entry in entries if entry.type == "inet"]
    assert made.smtp == "127.0.0.1:2532"
    assert addresses[:3] == ["127.0.0.1:2532", "127.0.0.1:2594", "127.0.0.1:2472"]
    assert all(
        ipaddress.ip_network(network.replace("[", "").replace("]", "")).is_loopback for network in config.mynetworks
    )
    assert config.maillog_file == "/dev/stdout"
    for directory in (made.queue_directory, made.data_directory, made.mail_directory, made.log_directory):
        assert Path(directory).is_dir()


def test_passwords_are_private_and_random(tmp_path: Path) -> None:
    one = write_instance(str(tmp_path / "a"))
    two = write_instance(str(tmp_path / "b"))
    path = tmp_path / "a" / "credentials.txt"
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_credentials(str(path)) == one.credentials
    assert set(one.credentials) == {"alice@example.test", "bob@example.test"}
    assert len({*one.credentials.values(), *two.credentials.values()}) == 4
    assert all(len(password) >= 16 for password in one.credentials.values())


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    first = write_instance(str(tmp_path))
    (tmp_path / "conf" / "main.cf").write_text("mine = 1\n")
    second = write_instance(str(tmp_path), domain="other.test", port_offset=1)
    assert len(first.written) == 7
    assert second.written == ()
    assert second.credentials == first.credentials
    assert (tmp_path / "conf" / "main.cf").read_text() == "mine = 1\n"


def test_a_full_instance(tmp_path: Path) -> None:
    made = write_instance(str(tmp_path), domain="example.org", embedded=False)
    config = load(made.config_directory)
    assert config.check() == []
    entries = master_cf.parse(f"{made.config_directory}/master.cf")
    assert [entry.service for entry in entries if entry.type == "inet"][:3] == ["25", "587", "465"]
    assert Path(made.config_directory, "tls.pem").stat().st_mode & 0o777 == 0o600
    assert config.maillog_file.startswith(config.maillog_file_prefixes[-1])
    assert made.credentials == {}
    assert not (tmp_path / "credentials.txt").exists()


def test_port_and_address_can_be_chosen(tmp_path: Path) -> None:
    assert write_instance(str(tmp_path), listen="0.0.0.0", smtp_port=25).smtp == "0.0.0.0:25"
    text = (tmp_path / "conf" / "master.cf").read_text()
    assert "\n0.0.0.0:25 inet  n " in text
    assert "\n0.0.0.0:2587 inet " in text


def test_servers_without_a_port_are_left_out(tmp_path: Path) -> None:
    made = write_instance(str(tmp_path), ports={"submissions": 4650})
    entries = master_cf.parse(f"{made.config_directory}/master.cf")
    assert [entry.service for entry in entries if entry.type == "inet"] == ["127.0.0.1:2525", "127.0.0.1:4650"]


@pytest.mark.parametrize("domain", ["", "a b", "-a.test", "a..b", "a\nb = c", "x" * 64 + ".test", "$a"])
def test_bad_domains_are_refused(tmp_path: Path, domain: str) -> None:
    with pytest.raises(ValueError, match="not a domain name"):
        write_instance(str(tmp_path / "x"), domain=domain)
    assert not (tmp_path / "x").exists()


def test_bad_ports_and_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no port"):
        write_instance(str(tmp_path), port_offset=65000)
    with pytest.raises(ValueError, match="cannot hold"):
        write_instance(str(tmp_path / "a b"))


# The host.


def test_the_host_has_a_loopback_address() -> None:
    found = host.interfaces()
    assert ipaddress.ip_interface("127.0.0.1/8") in found
    assert all(interface.network.prefixlen <= interface.max_prefixlen for interface in found)


@pytest.mark.parametrize(
    ("style", "expected"),
    [("host", "127.0.0.0/8"), ("subnet", "127.0.0.0/8"), ("class", "127.0.0.0/8")],
)
def test_loopback_is_always_trusted(style: str, expected: str) -> None:
    config = Config(texts={"mynetworks_style": style, "inet_protocols": "ipv4", "inet_interfaces": "loopback-only"})
    assert config.mynetworks == (expected,)


def test_networks_follow_the_style(monkeypatch: pytest.MonkeyPatch) -> None:
    known = tuple(ipaddress.ip_interface(text) for text in ("127.0.0.1/8", "130.1.2.3/23", "::1/128", "2001:db8::5/64"))
    monkeypatch.setattr(host, "interfaces", lambda: known)

    def networks(style: str, **texts: str) -> tuple[str, ...]:
        return Config(texts={"mynetworks_style": style, **texts}).mynetworks

    assert networks("host") == ("127.0.0.0/8", "130.1.2.3/32", "[::1]/128", "[2001:db8::5]/128")
    assert networks("subnet") == ("127.0.0.0/8", "130.1.2.0/23", "[::1]/128", "[2001:db8::]/64")
    assert networks("class")[:2] == ("127.0.0.0/8", "130.1.0.0/16")
    assert networks("host", inet_protocols="ipv6") == ("[::1]/128", "[2001:db8::5]/128")
    assert networks("subnet", inet_interfaces="130.1.2.3, [::1]") == ("130.1.2.0/23", "[::1]/128")
    with pytest.raises(ConfigError, match="mynetworks_style"):
        networks("wide")


def test_netlink_answers_that_are_cut_short_do_no_harm() -> None:
    found: list[host.Interface] = []
    for length in range(40):
        host._read_addresses(os.urandom(length), found)
    # A message of length zero must not be read again and again.
    assert host._read_addresses(b"\0" * 64, found) is False


def test_bare_host_names_get_a_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "host_name", lambda: "box")
    assert Config().myhostname == "box.localdomain"
    assert Config().mydomain == "localdomain"
    config = Config(texts={"mydomain": "example.com"})
    assert (config.myhostname, config.mydomain) == ("box.example.com", "example.com")
    monkeypatch.setattr(host, "host_name", lambda: "box.example.net")
    assert (Config().myhostname, Config().mydomain) == ("box.example.net", "example.net")
