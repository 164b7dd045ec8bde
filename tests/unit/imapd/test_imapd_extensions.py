"""QUOTA, METADATA, CATENATE, URLAUTH, REPLACE and the small ones, by the examples of their RFCs."""

import re
from pathlib import Path

import pytest

from tests.fakes.imap import FakeImapd, play
from tubepost.services.imapd.commands import metadata


def test_quota(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        server.limit("alice", quota_bytes=3000, quota_messages=2)
        alice = await server.log_in("alice")
        await alice.append("inbox", "x" * 1000)
        # RFC 9208 4.1: rounded up to 1024 octets.
        assert await alice.ok('getquota ""') == ['* QUOTA "" (STORAGE 1 3 MESSAGE 1 2)']
        assert await alice.ok("getquotaroot nowhere/yet") == [
            '* QUOTAROOT nowhere/yet ""',
            '* QUOTA "" (STORAGE 1 3 MESSAGE 1 2)',
        ]
        assert (await alice.append("inbox", "x" * 2500))[-1].startswith("NO [OVERQUOTA]")
        await alice.append("inbox")
        assert (await alice.append("inbox"))[-1].startswith("NO [OVERQUOTA]")
        await alice.ok("select inbox")
        assert (await alice.no("copy 1 inbox")).startswith("NO [OVERQUOTA]")
        await alice.ok("create Old")
        assert any("COPYUID" in line for line in await alice.ok("move 1 Old"))
        assert (await alice.no('setquota "" (storage 100)')).startswith("NO [NOPERM]")
        assert (await alice.no("getquota nothing")).startswith("NO [NONEXISTENT]")
        assert (await alice.no("getquota user/bob@example.test")).startswith("NO [NONEXISTENT]")
        await alice.ok("store 1 +flags.silent \\deleted")
        assert await alice.ok("status inbox (deleted deleted-storage)") == [
            "* STATUS INBOX (DELETED 1 DELETED-STORAGE 20)"
        ]

    play(tmp_path, scene)


def test_no_quota(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        assert await alice.ok("getquotaroot inbox") == ['* QUOTAROOT INBOX ""', '* QUOTA "" ()']

    play(tmp_path, scene)


def test_metadata(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.ok('setmetadata inbox (/private/comment "My own comment" /SHARED/comment {5+}\r\na\r\nb!)')
        assert await alice.ok("getmetadata INBOX (/shared/comment /private/Comment /private/none)") == [
            '* METADATA INBOX (/shared/comment {5}\r\na\r\nb! /private/comment "My own comment" /private/none NIL)'
        ]
        found = await alice.do("getmetadata (maxsize 5) inbox (/shared/comment /private/comment)")
        assert found[0].startswith("* METADATA INBOX (/shared/comment {5}")
        assert found[1].startswith("OK [METADATA LONGENTRIES 14]")
        await alice.ok("setmetadata inbox (/private/comment NIL)")
        assert await alice.ok("getmetadata inbox /private/comment") == ["* METADATA INBOX (/private/comment NIL)"]
        await alice.ok(
            'setmetadata inbox (/private/filters/values/small "SMALLER 5000"'
            ' /private/filters/values/boss "FROM \\"boss@example.com\\"" /private/filters/values/a/b "x")'
        )
        assert await alice.ok("getmetadata (depth 1) inbox (/private/filters/values)") == [
            '* METADATA INBOX (/private/filters/values/boss "FROM \\"boss@example.com\\""'
            ' /private/filters/values/small "SMALLER 5000")'
        ]
        (deep,) = await alice.ok("getmetadata (depth infinity) inbox /private/filters")
        assert deep.count("/private/") == 3
        await alice.ok('setmetadata "" (/private/vendor/x/colour "blue")')
        assert await alice.ok('getmetadata "" (/private/vendor/x/colour /shared/admin)') == [
            '* METADATA "" (/private/vendor/x/colour "blue" /shared/admin "mailto:postmaster@example.test")'
        ]
        assert (await alice.no('setmetadata "" (/shared/comment "x")')).startswith("NO [NOPERM]")
        size = 70000
        assert (await alice.no(f"setmetadata inbox (/private/big {{{size}+}}\r\n{'x' * size})")).startswith(
            "NO [METADATA MAXSIZE 65536]"
        )
        many = " ".join(f'/private/many/{number} "x"' for number in range(12))
        assert (await alice.no(f"setmetadata inbox ({many})")).startswith("NO [METADATA TOOMANY]")
        # RFC 5464 4.3: none of it.
        assert await alice.ok("getmetadata (depth 1) inbox /private/many") == []
        assert (await alice.no("getmetadata inbox /comment")).startswith("BAD")
        await alice.ok("create X")
        await alice.ok('setmetadata X (/private/specialuse "\\\\Archive")')
        assert await alice.ok('list "" X return (metadata (/private/specialuse /shared/comment))') == [
            '* LIST (\\HasNoChildren \\Archive) "/" X',
            '* METADATA X (/private/specialuse "\\\\Archive" /shared/comment NIL)',
        ]
        assert (await alice.no('setmetadata X (/private/specialuse "\\\\Nonsense")')).startswith("NO [USEATTR]")

    play(tmp_path, scene, imapd_metadata_count_limit="15")


def test_annotations_of_others_leave_room_for_the_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "_OF_OTHERS", 400)
    monkeypatch.setattr(metadata, "_TOTAL", 1200)
    ten = " ".join(f'/private/v/{number} "x"' for number in range(10))

    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.ok("setacl inbox anyone lr")
        box = "user/bob@example.test"
        await alice.ok(f"setmetadata {box} ({ten})")
        assert (await alice.no(f'setmetadata {box} (/private/v/more "x")')).startswith("NO [METADATA TOOMANY]")
        await bob.ok(f"setmetadata inbox ({ten})")
        assert (await bob.no('setmetadata inbox (/private/v/more "x")')).startswith("NO [METADATA TOOMANY]")
        # Nor do they take all the room.
        answer = await alice.no(f'setmetadata {box} (/private/v/1 "{"x" * 300}")')
        assert answer.startswith("NO [METADATA TOOMANY]")
        await bob.ok(f'setmetadata inbox (/private/v/1 "{"x" * 300}")')

    play(tmp_path, scene, imapd_metadata_count_limit="10")


def test_private_metadata_is_private(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        bob, alice = await server.log_in("bob"), await server.log_in("alice")
        await bob.ok('setmetadata inbox (/private/comment "bob" /shared/comment "for all")')
        await bob.ok("setacl inbox alice lr")
        name = "user/bob@example.test"
        assert await alice.ok(f"getmetadata {name} (/private/comment /shared/comment)") == [
            f'* METADATA {name} (/private/comment NIL /shared/comment "for all")'
        ]
        await alice.ok(f'setmetadata {name} (/private/comment "alice")')
        assert (await alice.no(f'setmetadata {name} (/shared/comment "mine")')).startswith("NO [NOPERM]")
        assert await alice.ok(f"getmetadata (depth infinity) {name} /private/comment") == [
            f'* METADATA {name} (/private/comment "alice")'
        ]
        assert await bob.ok("getmetadata inbox /private/comment") == ['* METADATA INBOX (/private/comment "bob")']

    play(tmp_path, scene)


HEAD = "Subject: new\r\n\r\n"
MULTIPART = (
    "Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: text/plain\r\n\r\nfirst\r\n--b\r\nContent-Type: text/plain\r\n\r\nsecond part\r\n--b--\r\n"
)


def _literal(text: str) -> str:
    return f"{{{len(text)}+}}\r\n{text}"


def test_catenate(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        answer = (await alice.append("INBOX", MULTIPART))[-1]
        match = re.search(r"APPENDUID (\d+) (\d+)", answer)
        assert match is not None
        url = f"/INBOX;UIDVALIDITY={match[1]}/;UID={match[2]}"
        done = await alice.do(
            f"append inbox (\\Seen) CATENATE (TEXT {_literal(HEAD)}"
            f' URL "{url}/;section=2" TEXT {_literal("--")} URL "/INBOX/;UID={match[2]}/;SECTION=1/;PARTIAL=1.3")'
        )
        assert done[-1].startswith("OK [APPENDUID "), done
        await alice.ok("select inbox")
        assert await alice.ok("fetch 2 (body.peek[] rfc822.size)") == [
            "* 2 FETCH (BODY[] {32}\r\nSubject: new\r\n\r\nsecond part--irs RFC822.SIZE 32)"
        ]
        # RFC 6855 4
        await alice.ok("create spare")
        done = await alice.do(f"append spare CATENATE (UTF8 (~{_literal(HEAD)}) TEXT {_literal('x')})")
        assert done[-1].startswith("OK [APPENDUID "), done
        # Relative to the selected mailbox, of several messages at once (RFC 3502).
        done = await alice.do(f'append inbox CATENATE (URL ";UID={match[2]}/;SECTION=HEADER") CATENATE (URL "{url}")')
        assert done[-1].startswith("OK [APPENDUID "), done
        for bad in (
            "/INBOX/;UID=99",
            "/Nowhere/;UID=1",
            f"/INBOX;UIDVALIDITY=1/;UID={match[2]}",
            f"{url}/;section=7",
            f"{url}/;section=NONSENSE",
            "/INBOX",
            "http://example.test/",
        ):
            answer = (await alice.do(f'append inbox CATENATE (URL "{url}" URL "{bad}")'))[-1]
            assert answer.startswith(f"NO [BADURL {bad}]"), answer
        assert (await alice.no("append inbox CATENATE ()")).startswith("BAD")
        assert "* STATUS INBOX (MESSAGES 4)" in await alice.ok("status inbox (messages)")

    play(tmp_path, scene)


def test_catenate_keeps_the_limit(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.append("inbox", "x" * 900)
        answer = (await alice.do('append inbox CATENATE (URL "/INBOX/;UID=1" URL "/INBOX/;UID=1")'))[-1]
        assert answer.startswith("NO [TOOBIG]")
        assert (await alice.append("inbox", "x" * 1001))[-1].startswith("NO [TOOBIG]")

    play(tmp_path, scene, imapd_append_limit="1000")


def test_urlauth(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice, bob = await server.log_in("alice"), await server.log_in("bob")
        await alice.append("INBOX", MULTIPART)
        base = "imap://alice%40example.test@mail.example.test/INBOX/;uid=1/;section=1.2"
        base = base.replace("1.2", "2")

        async def made(access: str, extra: str = "") -> str:
            (line,) = await alice.ok(f'genurlauth "{base}{extra};urlauth={access}" INTERNAL')
            match = re.fullmatch(r'\* GENURLAUTH "(.+)"', line)
            assert match is not None
            return match[1]

        for_bob = await made("user+bob@example.test")
        assert re.fullmatch(r".*;urlauth=user\+bob@example\.test:INTERNAL:[0-9a-f]{32,}", for_bob)
        got = f'* URLFETCH "{for_bob}" {{11}}\r\nsecond part'
        assert await bob.ok(f'urlfetch "{for_bob}"') == [got]
        assert await alice.ok(f'urlfetch "{for_bob}"') == [f'* URLFETCH "{for_bob}" NIL']
        for_all = await made("authuser")
        changed = for_all.replace("section=2", "section=1")
        forged = for_all[:-1] + ("0" if for_all[-1] != "0" else "1")
        late = await made("authuser", ";expire=2001-01-01T00:00:00Z")
        fresh = await made("anonymous", ";expire=2199-01-01T00:00:00+01:00")
        unauthorized = "/INBOX/;UID=1"
        lines = await bob.ok(
            f'urlfetch "{for_all}" "{changed}" "{forged}" "{late}" "{fresh}" "{unauthorized}" "nonsense"'
        )
        assert [line.endswith("}\r\nsecond part") for line in lines] == [True, False, False, False, True, False, False]
        assert all(line.endswith("NIL") for line in lines if not line.endswith("}\r\nsecond part"))
        # RFC 5524
        structure = '(BODYPARTSTRUCTURE ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 11 0 NIL NIL NIL NIL))'
        (line,) = await bob.ok(f'urlfetch ("{for_bob}" binary bodypartstructure)')
        assert line.lower() == f'* urlfetch "{for_bob}" {structure} (binary {{11}}\r\nsecond part)'.lower()
        (line,) = await bob.ok(f'urlfetch ("{for_bob}" body)')
        assert line.endswith("(BODY {11}\r\nsecond part)")
        for wrong in ("body binary", "nonsense", ""):
            assert (await bob.no(f'urlfetch ("{for_bob}" {wrong})')).startswith("BAD")
        # By another's URL a message can be made (RFC 4469, RFC 4467).
        assert (await bob.do(f'append inbox CATENATE (URL "{fresh}")'))[-1].startswith("OK")
        assert (await bob.do('append inbox CATENATE (URL "' + forged + '")'))[-1].startswith("NO [BADURL")
        # Only the owner makes them.
        assert "[NOPERM]" in await bob.no(f'genurlauth "{base};urlauth=anonymous" INTERNAL')
        for wrong in (
            f'"{base}" INTERNAL',
            f'"{base};urlauth=anonymous" OTHER',
            '"/INBOX/;UID=1;urlauth=anonymous" INTERNAL',
        ):
            assert (await alice.no(f"genurlauth {wrong}")).startswith("BAD"), wrong
        assert (await alice.do("resetkey inbox INTERNAL"))[-1].startswith("OK [URLMECH INTERNAL]")
        assert await bob.ok(f'urlfetch "{for_all}"') == [f'* URLFETCH "{for_all}" NIL']
        again = await made("authuser")
        assert again != for_all
        await alice.ok("resetkey")
        assert (await bob.ok(f'urlfetch "{again}"'))[0].endswith(" NIL")

    play(tmp_path, scene)


def test_a_url_for_a_user_without_a_domain_is_for_one_of_the_owners(tmp_path: Path) -> None:
    """RFC 4467 3: not for whoever has that name in another domain."""

    async def scene(server: FakeImapd) -> None:
        stranger = server.users["carol@example.test"].model_copy(update={"name": "bob@elsewhere.example"})
        server.users["bob@elsewhere.example"] = stranger
        alice, bob, other = await server.log_in("alice"), await server.log_in("bob"), await server.connect()
        await other.ok("login bob@elsewhere.example secret")
        await alice.append("inbox")
        base = "imap://alice%40example.test@mail.example.test/INBOX/;uid=1"
        (line,) = await alice.ok(f'genurlauth "{base};urlauth=user+bob" INTERNAL')
        url = line.removeprefix("* GENURLAUTH ")
        assert (await bob.ok(f"urlfetch {url}"))[0].endswith("body\r\n")
        assert (await other.ok(f"urlfetch {url}"))[0].endswith(" NIL")

    play(tmp_path, scene)


def test_url_fetch_of_decoded_parts(tmp_path: Path) -> None:
    """RFC 5524 4: the structure tells what is sent."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        assert "URLAUTH=BINARY" in (await alice.ok("capability"))[0].split()
        message = (
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
            "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORwAA\r\n--b\r\n"
            "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\none=0Atwo=\r\n\r\n--b\r\n"
            "Content-Type: text/plain\r\nContent-Transfer-Encoding: x-none\r\n\r\nx\r\n--b--\r\n"
        )
        await alice.append("inbox", message)

        async def fetched(section: str, items: str) -> str:
            base = "imap://alice%40example.test@mail.example.test/INBOX/;uid=1"
            (line,) = await alice.ok(f'genurlauth "{base}{section};urlauth=authuser" INTERNAL')
            (line,) = await alice.ok(f"urlfetch ({line.removeprefix('* GENURLAUTH ')}{items})")
            return line.partition('" ')[2]

        assert await fetched("/;section=1", " bodypartstructure binary") == (
            '(BODYPARTSTRUCTURE ("image" "png" NIL NIL NIL "binary" 6 NIL NIL NIL NIL)) (BINARY ~{6}\r\n\udc89PNG\0\0)'
        )
        # Without BINARY it is told and sent as it stands.
        assert await fetched("/;section=1", " bodypartstructure body") == (
            '(BODYPARTSTRUCTURE ("image" "png" NIL NIL NIL "base64" 8 NIL NIL NIL NIL)) (BODY {8}\r\niVBORwAA)'
        )
        assert await fetched("/;section=1", "") == "{8}\r\niVBORwAA"
        found = await fetched("/;section=2", " bodypartstructure binary")
        assert '"binary" 7 1 NIL' in found and found.endswith("(BINARY {7}\r\none\ntwo)")
        # What cannot be decoded is NIL, and its structure is there all the same.
        found = await fetched("/;section=3", " bodypartstructure binary")
        assert found.endswith('"x-none" 1 0 NIL NIL NIL NIL)) (BINARY NIL)')

    play(tmp_path, scene)


def test_replace(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        await alice.ok("create Drafts")
        for number in range(4):
            await alice.append("Drafts", f"Subject: {number}\r\n\r\n")
        await alice.ok("select Drafts")
        found = await alice.ok(f"replace 4 Drafts (\\Seen \\Draft) {_literal('Subject: new' + chr(13) + chr(10))}")
        assert re.match(r"\* OK \[APPENDUID \d+ 5\]", found[0])
        assert found[1:3] == ["* 4 EXPUNGE", "* 4 EXISTS"]
        assert any("\\Draft" in line for line in await alice.ok("fetch 4 flags"))
        found = await alice.ok(f"uid replace 5 INBOX {_literal('Subject: sent' + chr(13) + chr(10))}")
        assert "* 4 EXPUNGE" in found
        assert await alice.ok("status inbox (messages)") == ["* STATUS INBOX (MESSAGES 1)"]
        text = _literal("x")
        assert (await alice.no(f"uid replace 77 Drafts {text}")).startswith("NO")
        assert (await alice.no(f"replace 1:2 Drafts {text}")).startswith("BAD")
        assert (await alice.no(f"replace 9 Drafts {text}")).startswith("BAD")
        assert (await alice.no(f"replace 1 Nowhere {text}")).startswith("NO [TRYCREATE]")
        done = await alice.ok('uid replace 1 Drafts CATENATE (URL "/Drafts/;UID=1" TEXT {2+}\r\nyy)')
        assert "* 1 EXPUNGE" in done
        await alice.ok("examine Drafts")
        assert (await alice.no(f"replace 1 Drafts {text}")).startswith("NO")

    play(tmp_path, scene)


def test_replace_within_the_quota(tmp_path: Path) -> None:
    """RFC 8508 3.4: only what is used on balance counts."""

    async def scene(server: FakeImapd) -> None:
        server.limit("alice", quota_bytes=1000)
        alice = await server.log_in("alice")
        await alice.append("inbox", "x" * 900)
        await alice.ok("select inbox")
        assert (await alice.do(f"replace 1 inbox {_literal('y' * 950)}"))[-1].startswith("OK")
        assert (await alice.do(f"replace 1 inbox {_literal('y' * 1050)}"))[-1].startswith("NO [OVERQUOTA]")

    play(tmp_path, scene)


BINARY = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n"
    b"Content-Transfer-Encoding: binary\r\n\r\ntext\r\nlines\r\n--b\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Transfer-Encoding: BINARY\r\n\r\n%b\r\n--b--\r\n"
)


@pytest.mark.parametrize("octets", [b"\0\1\2", b"a\nb", b"a\rb\r\n\n", b"\r\n" * 3 + b"\0", bytes(range(256)) * 300])
def test_binary_append(tmp_path: Path, octets: bytes) -> None:
    """RFC 3516 4.4: what came as binary can be had as it was."""

    async def scene(server: FakeImapd) -> None:
        alice = await server.log_in("alice")
        message = BINARY % octets
        done = await alice.do(b"append inbox ~{%d+}\r\n%b" % (len(message), message))
        assert done[-1].startswith("OK [APPENDUID"), done
        await alice.ok("select inbox")
        alice.write(b"b1 fetch 1 (binary.size[2] binary[2])\r\n")
        line = await alice.line()
        mark = b"~" if b"\0" in octets else b""
        assert line == b"* 1 FETCH (BINARY.SIZE[2] %d BINARY[2] %b{%d}\r\n%b)" % (
            len(octets),
            mark,
            len(octets),
            octets,
        )
        await alice.lines("b1")
        assert await alice.ok("fetch 1 body.peek[1]") == ["* 1 FETCH (BODY[1] {11}\r\ntext\r\nlines)"]
        assert b"\0" not in alice.transport.sent

    play(tmp_path, scene)


def test_utf8_append(tmp_path: Path) -> None:
    """RFC 6855 4"""

    async def scene(server: FakeImapd) -> None:
        text = "Subject: Grüße\r\n\r\nja\r\n".encode()
        command = b"append inbox UTF8 (~{%d+}\r\n%b)" % (len(text), text)
        plain = await server.log_in("alice")
        assert (await plain.do(command))[-1].startswith("NO")
        alice = await server.log_in("alice", "UTF8=ACCEPT")
        assert (await alice.do(command))[-1].startswith("OK [APPENDUID")
        await alice.ok("select inbox")
        assert await alice.ok("fetch 1 body.peek[header]") == [
            "* 1 FETCH (BODY[HEADER] {20}\r\nSubject: Grüße\r\n\r\n)"
        ]

    play(tmp_path, scene)
