"""The names that ``tubepost check`` knows are those that smtpd knows."""

from tubepost.common.config import restrictions

from tubepost.services.smtpd.restrictions import language


def test_the_names_are_smtpd_s_own() -> None:
    assert frozenset(language._PLAIN) == restrictions.PLAIN
    assert frozenset(language._WITH_TABLE) == restrictions.WITH_TABLE
    assert frozenset(language._WITH_WORD) == restrictions.WITH_WORD


def test_mistakes_are_told() -> None:
    words = [
        "permit_mynetworks",
        "warn_if_reject",
        "REJECT_unauth_destination",
        "check_client_access",
        "cidr:/x",
        "my_class",
    ]
    assert list(restrictions.mistakes(words, lambda word: word == "my_class")) == []
    assert list(restrictions.mistakes(words, lambda _: False)) == ["there is no restriction my_class"]
    assert list(restrictions.mistakes(["check_sender_access", "file"], lambda _: False)) == [
        "check_sender_access file: the argument must be type:table"
    ]
    assert list(restrictions.mistakes(["reject_rbl_client"], lambda _: False)) == [
        "reject_rbl_client needs an argument"
    ]


def test_tables_are_found_where_they_stand() -> None:
    words = ["check_ccert_access", "{ hash:/a, { search_order = cert_fingerprint } }", "check_policy_service", "unix:x"]
    assert list(restrictions.tables([*words, "cidr:/b"])) == ["hash:/a", "cidr:/b"]


def test_tables_of_a_list() -> None:
    words = ["check_client_access", "cidr:/x", "check_policy_service", "unix:p", "hash:/y", "reject_rbl_client", "a.b"]
    assert list(restrictions.tables(words)) == ["cidr:/x", "hash:/y"]
