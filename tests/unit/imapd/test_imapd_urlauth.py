"""URLAUTH (RFC 4467): whose URLs are made and used, and what holds when a mailbox or a right is no more."""

from pathlib import Path

from tests.fakes.imap import FakeImapd, play

HOST = "mail.example.test"


def test_no_keys_in_mailboxes_of_others(tmp_path: Path) -> None:
    """RFC 4467 7: the keys of a mailbox are its owner's; to read it is not enough, and the URL would never work."""

    async def scene(server: FakeImapd) -> None:
        alice, bob = await server.log_in("alice"), await server.log_in("bob")
        await bob.ok("create Team")
        await bob.append("Team")
        await bob.ok("setacl Team alice lr")
        await alice.append("inbox")
        base = f"imap://alice%40example.test@{HOST}/"
        for name in ("user/bob@example.test/Team", "user/alice@example.test", "Nowhere"):
            answer = await alice.no(f'genurlauth "{base}{name}/;uid=1;urlauth=anonymous" INTERNAL')
            assert answer.startswith("BAD"), answer
        account = server.mailboxes._open[str(tmp_path / "bob")].account
        assert not any("urlauth" in notes for notes in account.all_annotations().values())
        await alice.ok(f'genurlauth "{base}INBOX/;uid=1;urlauth=anonymous" INTERNAL')

    play(tmp_path, scene)


def test_a_url_gives_what_its_owner_may_read(tmp_path: Path) -> None:
    """RFC 4467 7: it grants what the user may who is named in it, and that may have changed since."""

    async def scene(server: FakeImapd) -> None:
        alice, bob = await server.log_in("alice"), await server.log_in("bob")
        await alice.ok("create Work")
        await alice.append("Work")
        base = f"imap://alice%40example.test@{HOST}/Work/;uid=1;urlauth=authuser"
        (line,) = await alice.ok(f'genurlauth "{base}" INTERNAL')
        url = line.removeprefix("* GENURLAUTH ")
        assert (await bob.ok(f"urlfetch {url}"))[0].endswith("body\r\n")
        await alice.ok("setacl Work alice@example.test la")
        assert (await bob.ok(f"urlfetch {url}"))[0].endswith(" NIL")
        assert "[BADURL" in (await bob.do(f"append inbox CATENATE (URL {url})"))[-1]
        await alice.ok("deleteacl Work alice@example.test")
        assert (await bob.ok(f"urlfetch {url}"))[0].endswith("body\r\n")
        # Another mailbox of that name has keys of its own.
        await alice.ok("rename Work Other")
        await alice.ok("create Work")
        await alice.append("Work")
        await alice.ok(f'genurlauth "{base}" INTERNAL')
        assert (await bob.ok(f"urlfetch {url}"))[0].endswith(" NIL")

    play(tmp_path, scene)


def test_a_user_whose_name_is_not_ascii(tmp_path: Path) -> None:
    async def scene(server: FakeImapd) -> None:
        name = "josé@example.test"
        server.users[name] = server.users["carol@example.test"].model_copy(update={"name": name})
        alice, jose = await server.log_in("alice"), await server.connect()
        await jose.ok("authenticate plain AGpvc8OpQGV4YW1wbGUudGVzdABzZWNyZXQ=")
        await alice.append("inbox")
        base = f"imap://alice%40example.test@{HOST}/INBOX/;uid=1;urlauth=user+jos%C3%A9@example.test"
        (line,) = await alice.ok(f'genurlauth "{base}" INTERNAL')
        assert (await jose.ok(f"urlfetch {line.removeprefix('* GENURLAUTH ')}"))[0].endswith("body\r\n")

    play(tmp_path, scene)
