"""C1 controls and Unicode's separators, which some readers take for the end of a line (RFC 5198 2): none is let in."""

import pytest

from tubepost.common.smtp import command

from tubepost.services.smtpd import xclient
from tubepost.services.smtpd.parameters import ParameterRefused, read_mail, read_rcpt

SEPARATORS = ["\x85", "\x80", "\x9f", "\u2028", "\u2029"]


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("form", ["<x{}y@a.example>", '<"x{}y"@a.example>', "<x@a{}b.example>"])
def test_no_address_has_one(separator: str, form: str) -> None:
    with pytest.raises(command.CommandError):
        command.parse_path_command("FROM:" + form.format(separator), "FROM:")


@pytest.mark.parametrize("separator", SEPARATORS)
def test_nor_has_what_goes_into_a_report(separator: str) -> None:
    coded = "".join(f"+{byte:02X}" for byte in separator.encode())
    with pytest.raises(ParameterRefused):
        read_mail("a@b", [("ENVID", f"x{coded}y")], withheld=frozenset(), smtputf8_enable=True)
    for value in (f"rfc822;x{coded}y", f"utf-8;x\\x{{{ord(separator):04X}}}y", f"utf-8;x{separator}y"):
        with pytest.raises(ParameterRefused):
            read_rcpt("a@b", [("ORCPT", value)], withheld=frozenset())


@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_greeting_and_xclient_are_neutered(separator: str) -> None:
    assert xclient.neuter(f"x{separator}y") == "x?y"
    coded = "".join(f"+{byte:02X}" for byte in separator.encode())
    assert xclient.read_xclient(f"HELO=x{coded}y")["HELO"] == "x?y"


@pytest.mark.parametrize("name", ["\u00fc", "\u00a0", "\u2027", "\u202f", "\U0001f600"])
def test_others_of_unicode_stay(name: str) -> None:
    assert command.parse_path_command(f"FROM:<x{name}@a.example>", "FROM:").address == f"x{name}@a.example"
