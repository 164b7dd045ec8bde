"""Fuzzes main.cf and master.cf: how they are read, and how postconf writes into them.

The invariant: nothing but ConfigError is raised, and by ``check`` nothing; every fault says what is wrong on one line;
a value that was set is the one that is read again and nothing else has changed; an entry of master.cf that was
printed reads as the same words.

    python -m tests.fuzz configuration -max_total_time=20
"""

from tubepost.common.config import edit, mainfile, master_cf
from tubepost.common.config.expand import ExpandError, expand, references
from tubepost.common.config.faults import ConfigError
from tubepost.common.config.settings import DECLARED, from_text, inspect_text

from tests.fuzz.driver import Harness

WORDS = [
    b"mynetworks", b"myhostname", b"inet_interfaces", b"message_size_limit", b"smtpd_recipient_restrictions", b" = ",
    b"=", b"\n", b"\n ", b"\n#", b"$", b"${", b"}", b"{", b"$(", b")", b"?", b":", b"$myhostname", b"${x?{a}:{b}}",
    b"${{1} == {2} ? {a} : {b}}", b"$$", b"smtp", b"inet", b"unix", b"-", b" n", b" y", b" - - - - ", b"smtpd", b"-o ",
    b"-oa=b", b"{ a = b }", b"99999999999999999999", b"5m", b"127.0.0.0/8", b"\0", b"\xff", b"\t", b"\r", b"x" * 80,
    b"no", b"hash:/etc/aliases", b"check_client_access ", b"smtp inet n - n - - smtpd\n", b" 60? ", b"-v", b"-- ",
    b"\xe2\x80\xa8", b"\x0c", b"[::1]:25",
]  # fmt: skip
_SPACE = " \t\r\n\v\f"


def main_cf(text: str, wholly: bool) -> None:
    settings, faults = mainfile.parse(text)
    for fault in faults:
        assert fault.reason and "\n" not in str(fault)
    values = {setting.name: setting.value for setting in settings}
    config = inspect_text(text)
    # Every parameter there is: it takes its time.
    for fault in config.check() if wholly else ():
        assert fault.reason
        str(fault)
    for name in list(values)[:50]:
        if name in DECLARED:
            try:
                config.get(name)
            except ConfigError as error:
                assert error.reason and error.name
        try:
            config.raw(name)
        except ConfigError:
            pass
    try:
        from_text(text)
    except ConfigError:
        pass
    if "\0" in text:
        return
    changed, _ = edit.set_values(text, {"myhostname": "new.example"})
    again, _ = mainfile.parse(changed)
    values["myhostname"] = "new.example"
    assert {setting.name: setting.value for setting in again} == values
    removed, _ = mainfile.parse(edit.remove(changed, ["myhostname"]))
    del values["myhostname"]
    assert {setting.name: setting.value for setting in removed} == values
    commented, _ = mainfile.parse(edit.comment_out(changed, ["myhostname"]))
    assert {setting.name: setting.value for setting in commented} == values


def master(text: str) -> None:
    entries, faults = master_cf.parse_text(text)
    for fault in faults:
        assert fault.reason
    for entry in entries:
        assert entry.service and entry.type in master_cf.TYPES and entry.command
        assert "/" not in entry.path.partition("/")[2]
    words: list[master_cf.Words] = []

    def remember(found: master_cf.Words) -> None:
        words.append(found)

    try:
        assert edit.edit_master(text, remember).removesuffix("\n") == text.removesuffix("\n")
        printed = edit.edit_master(text, edit.print_entry)
    except (ConfigError, ValueError):
        return
    kept = list(words)
    words.clear()
    edit.edit_master(printed, remember)
    assert words == kept, f"{kept} printed as {printed!r} reads as {words}"
    everything, _ = master_cf.parse_text(edit.comment_master(text, lambda service, kind: True))
    assert not everything


def check(settings: int, data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    match settings & 3:
        case 0 | 1:
            main_cf(text, settings & 12 == 12)
        case 2:
            master(text)
        case 3:
            assert all(name.isidentifier() or name.isalnum() or not name for name in references(text))

            def lookup(name: str) -> str | None:
                return {"a": "x y", "b": "", "myhostname": "h"}.get(name)

            try:
                value = expand(text, lookup)
            except ExpandError as error:
                assert str(error)
                return
            assert len(value) <= 1 << 20


HARNESS = Harness(
    check,
    WORDS,
    [
        b"\0mynetworks = 127.0.0.0/8\n  [::1]/128\n# x\nmyhostname = a.$mydomain\n",
        b"\2smtp inet n - n - - smtpd -o { a = b c } -v\n  -o x=y\n",
        b"\3${a?{x}:{$b}}",
    ],
)
