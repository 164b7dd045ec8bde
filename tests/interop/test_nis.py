"""nis: tables against a real ypserv, in a network of the test's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/interop/nis"
SPACES = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def _missing() -> str:
    if os.geteuid() != 0:
        return "needs root"
    for program in ("rpcbind", "ypserv", "ypbind", "unshare", "ip", "domainname"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return "" if subprocess.run([*SPACES, "true"], check=False).returncode == 0 else "no name spaces here"


@pytest.mark.timeout(120)
def test_a_domain(tmp_path: Path) -> None:
    if reason := _missing():
        pytest.skip(reason)
    aliases = f"alice alice@example.test\nlong {'x' * 900}\nwords one two  three\numlaut ä\nBob upper\n"
    (tmp_path / "aliases.map").write_text(aliases)
    (tmp_path / "mail.map").write_text("team@example.test alice@example.test\n")
    ask = [sys.executable, str(FOLDER / "ask.py"), str(tmp_path)]
    done = subprocess.run(
        [*SPACES, "sh", str(FOLDER / "network"), str(tmp_path), *ask],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "all is well" in done.stdout, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
