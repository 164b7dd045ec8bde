"""The order of local(8), against a world of this test's own."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tubepost.common.wire.delivery import RecipientStatus
from tubepost.common.wire.envelope import Recipient
from tubepost.common.wire.rewrite import Resolved

from tubepost.services.local.expansion import NOBODY, Alias, Expansion, ListFile, Settings, Trouble
from tubepost.services.local.protocol import Attributes, Rights

BOB = Rights(1001, 1001, "bob", "/home/bob", "/bin/sh")
EVE = Rights(1002, 1002, "eve", "/home/eve", "/bin/sh")
SETTINGS = Settings(
    transport="local",
    recipient_delimiter="+",
    forward_path=("$home/.forward+$extension", "$home/.forward"),
    forward_expansion_filter="abcdefghijklmnopqrstuvwxyz/.+",
    allow_mail_to_commands=("alias", "forward"),
    allow_mail_to_files=("alias", "forward"),
    propagate_unmatched_extensions=("canonical", "virtual"),
    owner_request_special=True,
    expand_owner_alias=False,
    reset_owner_alias=False,
    frozen_delivered_to=True,
    require_home_directory=False,
    duplicate_filter_limit=1000,
    line_length_limit=2048,
    luser_relay="",
)


class World:
    """Aliases, files and users as given; what is done is written down as (what, address, uid)."""

    def __init__(
        self,
        aliases: Mapping[str, str] | None = None,
        files: Mapping[str, str | ListFile] | None = None,
        transports: Mapping[str, str] | None = None,
        failing: frozenset[str] = frozenset(),
    ) -> None:
        self.aliases = aliases or {}
        self.files = files or {}
        self.transports = transports or {}
        self.failing = failing
        self.users = {"bob": BOB, "eve": EVE}
        self.done: list[tuple[str, str, int]] = []
        self.warnings: list[str] = []
        self.told: list[str] = []

    async def alias(self, name: str) -> Alias | None:
        if name == "broken":
            raise Trouble("4.3.0", "alias database unavailable")
        value = self.aliases.get(name)
        return None if value is None else Alias(value, NOBODY)

    def account(self, name: str) -> Rights | None:
        return self.users.get(name)

    def account_by_id(self, uid: int) -> Rights | None:
        return next((rights for rights in self.users.values() if rights.uid == uid), None)

    async def home_trouble(self, rights: Rights) -> str:
        return "no home" if rights is EVE else ""

    def _file(self, path: str, owner: int) -> ListFile | None:
        found = self.files.get(path)
        return ListFile(found.encode(), owner) if isinstance(found, str) else found

    async def forward_file(self, path: str, rights: Rights) -> ListFile | None:
        return self._file(path, rights.uid)

    async def include_file(self, path: str, rights: Rights) -> ListFile:
        return self._file(path, 0) or ListFile(b"", -1, f"no {path}")

    async def prepare(self, sender: str, addresses: list[str]) -> None:
        assert len(addresses) > 1

    async def canonical(self, address: str) -> str:
        return address if "@" in address else f"{address}@here"

    async def resolve(self, sender: str, address: str) -> Resolved:
        domain = address.rpartition("@")[2]
        return Resolved(
            transport="local" if domain == "here" else "smtp",
            nexthop=domain,
            recipient=address,
            address_class="local",
            error="bad_syntax" if domain == "bad" else "",
        )

    async def transport_of(self, parameter: str, user: str) -> str:
        return self.transports.get(parameter, "")

    def _do(self, attributes: Attributes, what: str, dsn: str = "2.0.0") -> RecipientStatus:
        self.done.append((what, attributes.recipient.address, attributes.rights.uid))
        if what in self.failing:
            dsn = "5.3.0"
        kind = {"2": "sent", "4": "deferred", "5": "bounced"}[dsn[0]]
        return RecipientStatus(offset=0, status=kind, dsn=dsn, text=what)  # type: ignore[arg-type]

    async def settle(self, attributes: Attributes, dsn: str, text: str) -> RecipientStatus:
        return self._do(attributes, f"{dsn} {text}", dsn)

    async def pass_on(self, attributes: Attributes, transport: str) -> RecipientStatus:
        return self._do(attributes, f"pass {transport}")

    async def to_file(self, attributes: Attributes, path: str) -> RecipientStatus:
        return self._do(attributes, f"file {path}")

    async def to_command(self, attributes: Attributes, command: str) -> RecipientStatus:
        return self._do(attributes, f"command {command}")

    async def to_mailbox(self, attributes: Attributes) -> RecipientStatus:
        return self._do(attributes, f"mailbox {attributes.user}")

    async def bounce_to_owner(self, attributes: Attributes, owner: str, status: RecipientStatus) -> bool:
        self.told.append(owner)
        return True

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def run(world: World, address: str, probe: bool = False, loops: tuple[str, ...] = (), **changes: object) -> Expansion:
    expansion = Expansion(world, replace(SETTINGS, **changes), probe, frozenset(loops))  # type: ignore[arg-type]
    start = Attributes(
        recipient=Recipient(address=address, notify=("SUCCESS", "FAILURE")), sender="s@there", envid="E", ret="HDRS"
    )
    asyncio.run(expansion.run(start))
    return expansion


def what(world: World) -> list[str]:
    return [done[0] for done in world.done]


def forwarded(expansion: Expansion) -> dict[tuple[str, str], list[str]]:
    return {key: [one.address for one in forward.recipients] for key, forward in expansion.forwards.items()}


def test_a_user_has_a_mailbox_and_a_stranger_has_none() -> None:
    world = World()
    run(world, "Bob+x@here")
    assert world.done == [("mailbox bob", "Bob+x@here", 1001)]
    world = World()
    run(world, "who@here")
    assert what(world) == ['5.1.1 unknown user: "who"']
    world = World()
    run(world, "postmaster@here")
    assert what(world) == ["2.0.0 discarded"]
    assert world.warnings


def test_an_alias_comes_before_the_user_and_has_its_own_rights() -> None:
    world = World({"bob": 'eve, /f, "|c", far@x'})
    expansion = run(world, "bob@here")
    assert world.done == [
        ("mailbox eve", "eve@here", 1002),
        ("file /f", "bob@here", 0),
        ("command c", "bob@here", 0),
    ]
    assert forwarded(expansion) == {("bob@here", "s@there"): ["far@x"]}
    assert expansion.expanded == "expanded"
    (forward,) = expansion.forwards.values()
    assert forward.recipients[0].notify == ("FAILURE",)
    assert (forward.envid, forward.ret) == ("E", "HDRS")


def test_an_alias_that_names_itself_is_the_user_and_backslash_stops_everything() -> None:
    world = World({"bob": "bob, eve"}, {"/home/eve/.forward": "/eve"})
    run(world, "bob@here")
    assert what(world) == ["mailbox bob", "file /eve"]
    world = World(
        {"bob": r"\bob, \eve", "eve": "/never"}, {"/home/bob/.forward": "/never", "/home/eve/.forward": "/never"}
    )
    run(world, "bob@here")
    assert what(world) == ["mailbox bob", "mailbox eve"]


def test_the_extension_finds_its_own_alias_or_goes_on_only_where_it_may() -> None:
    aliases = {"team+a": "/a", "team": "bob"}
    world = World(aliases)
    run(world, "team+a@here")
    assert what(world) == ["file /a"]
    world = World(aliases)
    run(world, "team+b@here")
    assert world.done == [("mailbox bob", "bob@here", 1001)]
    world = World(aliases)
    run(world, "team+b@here", propagate_unmatched_extensions=("alias",))
    assert world.done == [("mailbox bob", "bob+b@here", 1001)]


def test_a_list_with_an_owner_is_a_new_message_from_the_owner() -> None:
    world = World({"list": 'bob, far@x, "|archive"', "owner-list": "eve"})
    expansion = run(world, "list@here")
    assert what(world) == ["command archive"]
    assert forwarded(expansion) == {("list@here", "owner-list@here"): ["bob@here", "far@x"]}
    (forward,) = expansion.forwards.values()
    assert (forward.envid, forward.ret) == ("", "")
    assert all(not one.notify and not one.orcpt for one in forward.recipients)
    assert expansion.expanded == "sent"
    expansion = run(World(world.aliases), "list@here", expand_owner_alias=True)
    assert list(forwarded(expansion)) == [("list@here", "eve@here")]


def test_the_owner_of_a_list_is_told_of_its_broken_archive() -> None:
    world = World({"list": '"|archive"', "owner-list": "eve"}, failing=frozenset({"command archive"}))
    expansion = run(world, "list@here")
    assert world.told == ["owner-list@here"]
    assert [status.status for status in expansion.statuses] == ["sent"]
    world = World({"list": '"|archive"'}, failing=frozenset({"command archive"}))
    expansion = run(world, "list@here")
    assert not world.told
    assert [status.status for status in expansion.statuses] == ["bounced"]


def test_include_files_send_anew_and_may_not_name_commands_or_files() -> None:
    world = World({"list": ":include:/l"}, {"/l": "# no\nbob\nfar@x, eve\n|c\n/f\n"})
    expansion = run(world, "list@here")
    assert forwarded(expansion) == {("list@here", "s@there"): ["bob@here", "far@x", "eve@here"]}
    assert what(world) == ["5.7.1 mail to command is restricted", "5.7.1 mail to file is restricted"]
    world = World({"list": ":include:/l"}, {"/l": ListFile(b"|c\n", 1002)})
    run(world, "list@here", allow_mail_to_commands=("include",))
    assert world.done == [("command c", "list@here", 1002)]


def test_include_files_that_cannot_be_used() -> None:
    for value in (":include:relative", ":include:/none"):
        world = World({"list": value})
        run(world, "list@here")
        assert what(world) == ["5.3.5 mail system configuration error"]
        assert world.warnings
    world = World({"list": ":include:/l"}, {"/l": ListFile(b"bob\n", 4711)})
    run(world, "list@here")
    assert what(world) == ["4.3.5 mail system configuration error"]


def test_include_files_that_include_each_other_end() -> None:
    world = World({"list": ":include:/a"}, {"/a": ":include:/b\nfar@x\n", "/b": ":include:/a\nfar@y\n"})
    expansion = run(world, "list@here")
    assert forwarded(expansion) == {("list@here", "s@there"): ["far@y", "far@x"]}


def test_forward_files() -> None:
    files = {"/home/bob/.forward": 'bob, eve, far@x, ~/copy, "|c"\n'}
    world = World(files=files)
    expansion = run(world, "bob@here")
    assert world.done == [
        ("mailbox bob", "bob@here", 1001),
        ("file /home/bob/copy", "bob@here", 1001),
        ("command c", "bob@here", 1001),
    ]
    assert forwarded(expansion) == {("bob@here", "s@there"): ["eve@here", "far@x"]}
    for empty in ("", "# nothing\n\n", ListFile(b"/x", 1001, "world writable")):
        world = World(files={"/home/bob/.forward": empty})
        run(world, "bob@here")
        assert what(world) == ["mailbox bob"]


def test_the_forward_file_of_an_extension_comes_first_and_uses_it_up() -> None:
    files = {"/home/bob/.forward+x": "far@x\n", "/home/bob/.forward": "far@y\n"}
    for extension, expected in (("x", "far@x"), ("z", "far+z@y")):
        expansion = run(World(files=files), f"bob+{extension}@here", propagate_unmatched_extensions=("forward",))
        assert list(forwarded(expansion).values()) == [[expected]]
    # No extension may lead out of the home directory.
    assert list(forwarded(run(World(files=files), "bob+../eve@here")).values()) == [["far@y"]]


def test_loops_end_in_words() -> None:
    world = World()
    run(world, "bob@here", loops=("bob@here",))
    assert what(world) == ["5.4.6 mail forwarding loop for bob@here"]
    world = World({"a": "b", "b": "a"})
    run(world, "a@here")
    assert len(world.done) == 1
    assert world.done[0][0].startswith(("5.4.6", "5.1.1"))
    world = World({f"n{number}": f"n{number + 1}" for number in range(500)})
    run(world, "n0@here")
    assert what(world)[0].startswith("5.4.6")


def test_what_is_named_twice_gets_one_copy() -> None:
    world = World({"all": "/f, /f, far@x, FAR@x, team, team", "team": "bob, eve"})
    expansion = run(world, "all@here")
    assert what(world) == ["file /f", "mailbox bob", "mailbox eve"]
    assert list(forwarded(expansion).values()) == [["far@x"]]


def test_trouble_waits_and_stops_a_list_where_it_is() -> None:
    world = World()
    expansion = run(world, "broken@here")
    assert what(world) == ["4.3.0 alias database unavailable"]
    assert expansion.statuses[0].status == "deferred"
    world = World({"all": ":include:/l"}, {"/l": "far@x\nx@bad\nfar@y\n"})
    expansion = run(world, "all@here")
    assert what(world) == ["5.1.3 bad recipient address syntax: x@bad"]
    assert list(forwarded(expansion).values()) == [["far@x", "far@y"]]


def test_transports_stand_before_and_behind_the_mailbox() -> None:
    world = World({"team": "bob"}, transports={"mailbox_transport": "lmtp:x"})
    run(world, "team@here")
    run(world, "who@here")
    assert world.done == [("pass lmtp:x", "bob@here", 0), ("pass lmtp:x", "who@here", 0)]
    world = World(transports={"fallback_transport": "smtp:y"})
    run(world, "bob@here")
    run(world, "who@here")
    assert what(world) == ["mailbox bob", "pass smtp:y"]


def test_luser_relay() -> None:
    world = World()
    run(world, "who+x@here", luser_relay="bob+$local")
    assert world.done == [("mailbox bob", "bob+who+x@here", 1001)]
    world = World()
    expansion = run(world, "who@here", luser_relay="$user@far")
    assert list(forwarded(expansion).values()) == [["who@far"]]
    world = World()
    run(world, "who@here", luser_relay="who@here")
    assert what(world) == ['5.1.1 unknown user: "who"']


def test_a_probe_delivers_nothing() -> None:
    world = World({"team": "bob"}, {"/home/eve/.forward": "/x"})
    for address in ("team@here", "eve@here", "bob@here", "who@here"):
        run(world, address, probe=True)
    assert what(world) == [
        "2.0.0 aliased to bob",
        "2.0.0 forward via file: /home/eve/.forward",
        "2.0.0 delivers to mailbox",
        '5.1.1 unknown user: "who"',
    ]


def test_lists_that_name_but_each_other_are_a_loop() -> None:
    world = World({"a": ":include:/l", "b": "a"}, {"/l": "b"})
    run(world, "a@here")
    assert what(world) == ["5.4.6 alias database loop for a@here"]


def test_a_home_that_is_not_there_waits_where_it_is_required() -> None:
    world = World()
    run(world, "eve@here", require_home_directory=True)
    run(world, "bob@here", require_home_directory=True)
    assert what(world) == ["4.3.0 no home", "mailbox bob"]


_NAMES = st.sampled_from(["a", "b", "c", "bob", "eve", "owner-a", "owner-b"])
_ITEMS = st.one_of(_NAMES, st.sampled_from([r"\bob", "/f", "|c", ":include:/l", "~/x", "far@x", "x@bad", "a+b"]))
_LISTS = st.lists(_ITEMS, min_size=1, max_size=4).map(", ".join)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_NAMES, _LISTS, max_size=6), _LISTS, _LISTS)
def test_whatever_people_write_it_ends_and_something_becomes_of_the_mail(
    aliases: dict[str, str], included: str, forward: str
) -> None:
    world = World(aliases, {"/l": included, "/home/bob/.forward": forward})
    expansion = run(world, "a@here")
    assert expansion.statuses or expansion.forwards
    assert len(expansion.statuses) < 5000


def test_an_address_that_is_no_utf8_is_nobodys() -> None:
    world = World(files={"/home/bob/.forward": ListFile(b"J\xf6rg@far, x@far, y@far\n", 1001)})
    expansion = run(world, "bob@here")
    assert what(world) == ["5.1.3 bad recipient address syntax: J\udcf6rg@far"]
    assert forwarded(expansion) == {("bob@here", "s@there"): ["x@far", "y@far"]}


def test_names_of_files_and_commands_differ_by_case() -> None:
    world = World({"all": '/var/Box, /var/box, "|x -A", "|x -a", /var/box, Bob, bob'})
    run(world, "all@here")
    assert what(world) == ["file /var/Box", "file /var/box", "command x -A", "command x -a", "mailbox bob"]
