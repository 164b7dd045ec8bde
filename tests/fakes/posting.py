"""sendmail many times, at the cost of one interpreter: a process that is there makes each, and each is a process."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Sequence

from tests.fakes.instance import Instance

_PROGRAM = """
import base64, json, os, sys, tempfile
from tubepost.commands import sendmail
done = []
for arguments, content in json.load(sys.stdin):
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as errors:
        file.write(base64.b64decode(content))
        file.seek(0)
        if not (child := os.fork()):
            os.dup2(file.fileno(), 0)
            os.dup2(errors.fileno(), 2)
            os._exit(sendmail.main([os.fsdecode(base64.b64decode(word)) for word in arguments]))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        errors.seek(0)
        done.append((status, errors.read().decode("utf-8", "replace")))
json.dump(done, sys.stdout)
"""


def post(instance: Instance, postings: Sequence[tuple[Sequence[bytes | str], bytes]]) -> list[tuple[int, str]]:
    """Each with its arguments and its content; status and standard error of each."""
    given = [
        ([base64.b64encode(os.fsencode(word)).decode() for word in arguments], base64.b64encode(content).decode())
        for arguments, content in postings
    ]
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROGRAM],
        input=json.dumps(given),
        env={**os.environ, "MAIL_CONFIG": str(instance.conf)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return [(status, errors) for status, errors in json.loads(done.stdout)]
