"""nodemailer sends and imapflow reads, over STARTTLS: what webmails and services in Node are made of."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes.instance import Instance

# Where .ci/packages puts them.
_MODULES = Path(__file__).resolve().parent.parent.parent / ".venv" / "node"
_SCRIPT = Path(__file__).resolve().parent / "node" / "clients.mjs"


@pytest.mark.skipif(
    shutil.which("node") is None or not (_MODULES / "node_modules" / "imapflow").is_dir(),
    reason="node with imapflow and nodemailer is not here (.ci/packages installs them where npm is)",
)
def test_nodemailer_and_imapflow(tmp_path: Path) -> None:
    script = _MODULES / f"clients-{tmp_path.name}.mjs"
    shutil.copyfile(_SCRIPT, script)
    user = "alice@example.test"
    try:
        with Instance(services=("imap", "submission")) as instance:
            run = subprocess.run(
                [
                    *("node", str(script), str(instance.ports["imap"]), str(instance.ports["submission"])),
                    *(user, instance.credentials[user]),
                ],
                capture_output=True,
                text=True,
                timeout=60,
            )
    finally:
        script.unlink()
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["sent"].startswith("250 2.0.0 Ok: queued as ")
    assert said["secure"] is True
    assert said["subject"] == "Grüße aus Node 会议"
    assert said["parts"] == 2
    assert said["size"] == said["source"]
    assert said["attachment"] == "attached words"
    assert said["found"] == [1]
    assert said["cjk"] == [1]
    assert said["flags"] == ["Work", "\\Flagged"]
    assert said["moved"] is True
    assert said["list"] == ["Projekte/Übersicht"]
    assert said["status"] == 1
    assert said["exists"] == 1
