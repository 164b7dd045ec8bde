"""Config: typed attributes, overrides, transports, LMTP, and every fault in one pass."""

from pathlib import Path

import pytest

from tubepost.common.config import DECLARED, Config, ConfigError, from_text, inspect, load, transports
from tubepost.common.config.declare import Raw
from tubepost.common.config.expand import references
from tubepost.common.config.instance import shipped
from tubepost.common.config.settings import OVERRIDE


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_every_default_is_good(name: str) -> None:
    parameter = DECLARED[name]
    config = Config(texts={"myhostname": "mx.example.com"})
    config.get(name)
    assert parameter.doc.endswith(".")
    if not isinstance(parameter, Raw):
        # A default must not lean on a parameter that does not exist.
        known = DECLARED.keys() | {"stress"}
        assert references(parameter.default) <= known or parameter.computed


def test_types_and_units() -> None:
    config = from_text(
        "maximal_queue_lifetime = 2\nsmtpd_timeout = 2\nmydestination = a, b\nbiff=NO\nmynetworks=127.0.0.0/8"
    )
    assert config.maximal_queue_lifetime == 2 * 86400
    assert config.smtpd_timeout == 2.0
    assert config.mydestination == ("a", "b")
    assert config.biff is False
    assert config.message_size_limit == 52428800
    assert config.default_rbl_reply.startswith("$rbl_code ")
    assert config.double_bounce_notice_recipient == "postmaster"


def test_a_value_is_parsed_once() -> None:
    config = Config(texts={"mydestination": "a"})
    assert config.mydestination is config.mydestination


def test_stress() -> None:
    assert Config().smtpd_timeout == 300
    assert Config(overrides={"stress": "yes"}).smtpd_timeout == 10
    assert Config(overrides={"stress": "yes"}).smtpd_hard_error_limit == 1
    assert Config(overrides={"stress": ""}).smtpd_timeout == 300


def test_overrides_win_and_are_blamed() -> None:
    config = from_text("smtpd_timeout = 5\n", overrides={"smtpd_timeout": "x"})
    with pytest.raises(ConfigError) as caught:
        _ = config.smtpd_timeout
    assert (caught.value.file, caught.value.name) == (OVERRIDE, "smtpd_timeout")


def test_a_bad_value_names_its_place() -> None:
    with pytest.raises(ConfigError) as caught:
        _ = from_text("\n\nsmtpd_timeout = soon\n", file="/x/main.cf").smtpd_timeout
    assert str(caught.value).startswith("/x/main.cf, line 3: smtpd_timeout: ")


def test_a_value_cannot_be_below_its_bound() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        _ = from_text("smtpd_timeout = 0s").smtpd_timeout
    with pytest.raises(ConfigError, match="too large"):
        _ = from_text("in_flow_delay = 11s").in_flow_delay


def test_host_names() -> None:
    config = from_text("myhostname = mail.example.com")
    assert (config.mydomain, config.myorigin) == ("example.com", "mail.example.com")
    assert config.mydestination == ("mail.example.com", "localhost.example.com", "localhost")
    assert from_text("mydomain = example.org").mydestination[1] == "localhost.example.org"
    with pytest.raises(ConfigError, match="refers to itself"):
        _ = from_text("myhostname = mail.$mydomain").myhostname


def test_transports() -> None:
    config = from_text(
        "default_destination_concurrency_limit = 7\nslow_destination_concurrency_limit = 1\nslow_time_limit = 2h\n"
        "a-b_destination_rate_delay = 3m\n"
    )
    assert config.transport_int("slow", "destination_concurrency_limit") == 1
    assert config.transport_int("any", "destination_concurrency_limit") == 7
    assert config.transport_int("local", "destination_concurrency_limit") == 2
    assert config.transport_time("slow", "time_limit") == 7200
    assert config.transport_time("any", "time_limit") == 1000
    assert config.transport_time("a-b", "destination_rate_delay") == 180
    assert config.transport_int("any", "initial_destination_concurrency") == 5
    assert config.transport("any", "destination_concurrency_positive_feedback") == "1"
    with pytest.raises(KeyError):
        config.transport_int("any", "no_such_suffix")
    with pytest.raises(ConfigError, match="line 1"):
        from_text("x_destination_recipient_limit = many").transport_int("x", "destination_recipient_limit")


@pytest.mark.parametrize("suffix", transports.SUFFIXES)
def test_suffixes_split_back(suffix: str) -> None:
    split = transports.split_name(f"my_transport_{suffix}")
    assert split is not None
    assert split[0] == "my_transport"
    assert split[1].name == suffix
    assert Config().transport("x", suffix) != ""


def test_other_names_are_no_transports() -> None:
    for name in ("time_limit", "_time_limit", "smtp_timelimit", "smtp_time_limit_x"):
        assert transports.split_name(name) is None


def test_lmtp_reads_its_own_names() -> None:
    config = from_text("smtp_connect_timeout = 1s\nlmtp_lhlo_name = $smtp_helo_name.x\nsmtp_helo_name = me\n")
    lmtp = config.as_lmtp()
    assert (config.smtp_connect_timeout, lmtp.smtp_connect_timeout) == (1, 0)
    assert (config.smtp_tcp_port, lmtp.smtp_tcp_port) == ("smtp", "24")
    assert lmtp.smtp_helo_name == "me.x"
    assert lmtp.smtp_skip_quit_response is False
    with pytest.raises(ConfigError, match="line 1: lmtp_quit_timeout"):
        _ = from_text("lmtp_quit_timeout = x").as_lmtp().smtp_quit_timeout
    assert Config(overrides={"lmtp_tcp_port": "1"}).as_lmtp().smtp_tcp_port == "1"
    assert lmtp.with_overrides({"lmtp_tcp_port": "2"}).smtp_tcp_port == "2"


def test_overrides_of_a_service() -> None:
    config = from_text("x = 1\nsmtpd_timeout = 5s", overrides={"queue_run_delay": "7s"})
    service = config.with_overrides({"smtpd_timeout": "$x", "stress": "yes"})
    assert (config.smtpd_timeout, service.smtpd_timeout) == (5, 1)
    assert service.queue_run_delay == 7
    assert service.explicit["x"].line == 1
    assert service.explicit["smtpd_timeout"].file == OVERRIDE


def test_check_finds_all() -> None:
    config = from_text(
        "smtpd_timout = 1\nsmtpd_timeout = x\nmydestination = $mine\nmine = a\nbiff = maybe\n"
        "smtpd_restriction_classes = strict\nstrict = reject_unauth_destination\nother = 1\n"
        "slow_destination_recipient_limit = 2\n"
        "gone_destination_recipient_limit = 2\nmine = b\nqueue_run_delay = ${x\n"
    )
    found = {(fault.line, fault.name, fault.severity) for fault in config.check(frozenset({"slow"}))}
    assert found == {
        (1, "smtpd_timout", "warning"),
        (2, "smtpd_timeout", "error"),
        (5, "biff", "error"),
        (8, "other", "warning"),
        (10, "gone_destination_recipient_limit", "warning"),
        (11, "mine", "warning"),
        (12, "queue_run_delay", "error"),
    }
    reasons = {fault.name: fault.reason for fault in config.check()}
    assert reasons["smtpd_timout"].endswith("did you mean smtpd_timeout?")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("message_size_limit = 2\nmailbox_size_limit = 1", "mailbox_size_limit"),
        ("message_size_limit = 0\nmailbox_size_limit = 0", "virtual_mailbox_limit"),
        ("minimal_backoff_time = 2h", "minimal_backoff_time"),
        ("heartbeat_timeout = 5s", "heartbeat_timeout"),
        ("memory_pressure_low = 30", "memory_pressure_low"),
        ("memory_use_low = 95", "memory_use_low"),
        ("smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks", "smtpd_relay_restrictions"),
        ("mydestination = Example.com\nvirtual_mailbox_domains = example.com", "virtual_mailbox_domains"),
        ("maillog_file = /etc/passwd", "maillog_file"),
    ],
)
def test_what_does_not_go_together_is_found(text: str, name: str) -> None:
    assert [(fault.name, fault.severity) for fault in from_text(text).check()] == [(name, "error")]


def test_relaying_may_be_closed_in_either_list() -> None:
    text = "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, {reject_unauth_destination}"
    assert from_text(text).check() == []


def test_a_bad_value_hides_no_other_conflict() -> None:
    found = {fault.name for fault in from_text("message_size_limit = x\nmaillog_file = /etc/x").check()}
    assert found == {"message_size_limit", "maillog_file"}


def test_the_shipped_file_is_right() -> None:
    assert from_text(shipped("main.cf")).check() == []


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"main\.cf: cannot read it"):
        load(f"{tmp_path}/none")
    with pytest.raises(ConfigError, match="missing '='"):
        from_text("what is this")


def test_inspection_lists_bad_lines_with_the_rest(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text("what is this\nsmtpd_timeout = x\n= y\nqueue_run_delay = 7s\n")
    config = inspect(str(tmp_path))
    assert [(fault.line, fault.severity) for fault in config.check()] == [(1, "error"), (2, "error"), (3, "error")]
    assert config.queue_run_delay == 7
    with pytest.raises(ConfigError, match="line 1"):
        load(str(tmp_path))


def test_values_that_are_not_utf8_survive(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_bytes(b"x = caf\xe9\n")
    value = load(str(tmp_path)).raw("x")
    assert value is not None
    assert value.encode("utf-8", "surrogateescape") == b"caf\xe9"
    assert load(str(tmp_path)).config_directory == str(tmp_path)
