"""postconf on files of its own: what is printed, changed, refused."""

from pathlib import Path

import pytest

from tubepost.common.mail import template

from tubepost.commands import postconf

MAIN = "# top\nmyhostname = a.example\nmydestination = $myhostname,\n  b\nsmtpd_timout = 4\nrelayhost = $mine\nmine =\n"
MASTER = (
    "# top\nsmtp inet n - n - - smtpd\n  -o smtpd_banner=$myhostname -o { x = y z }\n# within\n"
    "slow unix - - n - - smtp\nmail unix - n n - - pipe\n  flags=R argv={a b} c\n"
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "main.cf").write_text(MAIN)
    (tmp_path / "master.cf").write_text(MASTER)
    return tmp_path


def run(directory: Path, *arguments: str) -> int:
    return postconf.main(["-c", str(directory), *arguments])


def test_shows_what_is_set(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(directory, "-n") == 0
    out, err = capsys.readouterr()
    assert out == (
        f"config_directory = {directory}\nmine =\nmydestination = $myhostname, b\nmyhostname = a.example\n"
        "relayhost = $mine\n"
    )
    assert err == (
        f"postconf: warning: {directory}/main.cf: unused parameter: smtpd_timout=4; did you mean smtpd_timeout?\n"
        f"postconf: warning: {directory}/master.cf: unused parameter: x=y z\n"
    )


def test_shows_names_values_and_expansions(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(directory, "-q", "-x", "mydestination", "smtpd_timeout", "slow_destination_concurrency_limit")
    assert capsys.readouterr().out == (
        "mydestination = a.example, b\nsmtpd_timeout = 300s\nslow_destination_concurrency_limit = 20\n"
    )
    run(directory, "-qh", "myhostname")
    run(directory, "-qH", "myhostname")
    run(directory, "-qx", "-o", "stress=yes", "smtpd_timeout")
    run(directory, "-d", "myorigin")
    assert capsys.readouterr().out == "a.example\nmyhostname\nsmtpd_timeout = 10s\nmyorigin = $myhostname\n"


def test_an_unknown_name_is_a_warning(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(directory, "-q", "smtpd_timeot") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "postconf: warning: smtpd_timeot: unknown parameter; did you mean smtpd_timeout?\n"


def test_classes(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(directory, "-q", "-C", "user")
    assert capsys.readouterr().out == "mine =\n"
    run(directory, "-qH", "-C", "service")
    names = capsys.readouterr().out.split()
    assert "slow_destination_recipient_limit" in names
    assert "mail_time_limit" in names
    assert "slow_time_limit" not in names
    run(directory, "-dH")
    assert len(capsys.readouterr().out.split()) > 400


def test_master_entries(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(directory, "-qM", "smtp/inet", "mail")
    run(directory, "-qMfx", "smtp")
    run(directory, "-qP")
    run(directory, "-qPx", "smtp/inet/smtpd_banner")
    run(directory, "-qF", "mail/unix/command", "*/inet/type")
    assert capsys.readouterr().out == (
        "smtp       inet  n       -       n       -       -       smtpd -o smtpd_banner=$myhostname -o {x=y z}\n"
        "mail       unix  -       n       n       -       -       pipe flags=R argv={a b} c\n"
        "smtp       inet  n       -       n       -       -       smtpd\n"
        "    -o smtpd_banner=a.example\n    -o {x=y z}\n"
        "smtp/inet/smtpd_banner = $myhostname\nsmtp/inet/x = y z\n"
        "smtp/inet/smtpd_banner = a.example\n"
        "smtp/inet/type = inet\nmail/unix/command = pipe flags=R argv={a b} c\n"
    )


def test_edits(directory: Path) -> None:
    assert run(directory, "myhostname = b.example", "new=1") == 0
    assert run(directory, "-X", "mydestination") == 0
    assert run(directory, "-#", "mine") == 0
    assert (directory / "main.cf").read_text() == (
        "# top\nmyhostname = b.example\nsmtpd_timout = 4\nrelayhost = $mine\n#mine =\nnew = 1\n"
    )
    assert run(directory, "-F", "slow/unix/process_limit=3") == 0
    assert run(directory, "-P", "slow/unix/syslog_name=q", "smtp/inet/smtpd_banner=x") == 0
    assert run(directory, "-PX", "smtp/inet/x") == 0
    assert run(directory, "-M#", "mail/unix") == 0
    assert run(directory, "-M", "new/unix=new unix - - - - - error -v") == 0
    assert (directory / "master.cf").read_text() == (
        "# top\nsmtp       inet  n       -       n       -       -       smtpd\n    -o smtpd_banner=x\n# within\n"
        "slow       unix  -       -       n       -       3       smtp\n    -o syslog_name=q\n"
        "#mail unix - n n - - pipe\n#  flags=R argv={a b} c\n"
        "new        unix  -       -       -       -       -       error -v\n"
    )
    assert sorted(path.name for path in directory.iterdir()) == ["main.cf", "master.cf"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-z"], "usage: postconf"),
        (["-hH", "x"], "specify one of -h -H"),
        (["-d", "-e", "x=y"], "specify one of -d -e"),
        (["-M", "-h"], "with option -M, do not specify -h"),
        (["-m", "-n"], "with option -m, do not specify -n"),
        (["-e"], "-e requires name=value argument"),
        (["-X"], "missing service argument"),
        (["-e", "foo"], "missing '=' after attribute name: \"foo\""),
        (["a=b\nc=d"], "accepts no multi-line input"),
        (["-e", "#a=b"], "accepts no comment input"),
        (["-M", "a/b/c"], "-M option requires service_name[/type]"),
        (["-F", "smtp/inet/foo"], 'invalid service attribute name: "foo"'),
        (["-M", "x/unix=x"], "bad field count"),
        (["-M", "x/unix=x unix a - - - - y"], "bad private"),
        (["-F", "smtp/inet/maxproc=1"], "invalid service attribute name"),
        (["-F", "smtp/inet/wakeup=1 2"], "does not accept whitespace"),
        (["-P", "smtp/inet/*=1"], "wild-card"),
        (["-C", "none"], "unknown -C option value"),
        (["-o", "x", "-n"], "invalid parameter override"),
    ],
)
def test_refusals(directory: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert run(directory, *arguments) == 1
    err = capsys.readouterr().err
    assert "postconf: fatal: " in err
    assert words in err
    # Nothing may have changed.
    assert (directory / "main.cf").read_text() == MAIN
    assert (directory / "master.cf").read_text() == MASTER


def test_a_missing_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none", "-n") == 1
    assert "fatal: open " in capsys.readouterr().err


def test_table_types(capsys: pytest.CaptureFixture[str]) -> None:
    assert postconf.main(["-m"]) == 0
    types = capsys.readouterr().out.split()
    assert types == sorted(types)
    assert {"hash", "regexp", "cidr", "proxy"} <= set(types)


TEXTS = (
    "failure_template = <<END\nSubject: Gone\n\nHere is $myhostname.\nEOF\nEND\n"
    "delay_template = <<END\n\n$delay_warning_time_minutes of $maximal_queue_lifetime_days, $$1 ${nosuch}\n"
    "END\nrubbish\n"
)


def test_texts_of_bounces(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "main.cf").write_text("myhostname = a.example\ndelay_warning_time = 2h\n")
    assert run(directory, "-t") == 0
    built_in = capsys.readouterr().out
    parsed, complaints = template.parse(built_in)
    assert (parsed, complaints) == (template.BUILT_IN, [])
    assert run(directory, "-b") == 0
    out = capsys.readouterr().out
    assert out.startswith("expanded_failure_text = <<EOF\nThis is the mail system at host a.example.\n")
    assert "\nEOF\n\nexpanded_delay_text = <<EOF\n" in out and "For more than 2 hour(s)" in out and "$" not in out
    path = tmp_path / "texts"
    path.write_text(TEXTS)
    for arguments in (("-b", str(path)), ("-b", "-o", f"bounce_template_file={path}")):
        assert run(directory, *arguments) == 0
        out, err = capsys.readouterr()
        # Its own end is not taken for the text's.
        assert out.startswith("expanded_failure_text = <<EOF_\nHere is a.example.\nEOF\nEOF_\n")
        assert "expanded_delay_text = <<EOF\n120 of 5, $1 \nEOF\n" in out
        assert err.startswith(f"postconf: warning: {path}: line ") and "rubbish" not in out
    assert run(directory, "-t", str(path)) == 0
    parsed, complaints = template.parse(capsys.readouterr().out)
    assert complaints == []
    assert parsed == template.parse(TEXTS)[0]
    (directory / "main.cf").write_text(f"bounce_template_file = {path}\n")
    run(directory, "-t", "")
    assert capsys.readouterr().out == built_in


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-b", "a", "b"), "at most one template file"),
        (("-b", "-t"), "specify one of -b -t"),
        (("-b", "-n"), "with option -b, do not specify -n"),
        (("-t", "/nonexistent/texts"), "open /nonexistent/texts: No such file"),
        (("-b", "a=b"), "open a=b: No such file"),
    ],
)
def test_texts_refusals(
    directory: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert run(directory, *arguments) == 1
    out, err = capsys.readouterr()
    assert out == "" and words in err
