"""A parameter that no program reads must not exist: it would promise what is not there."""

import re
from pathlib import Path

import pytest

from tubepost.common.config import DECLARED, master_cf
from tubepost.common.config.declare import declarations
from tubepost.common.config.instance import shipped
from tubepost.common.config.parameters import Parameters
from tubepost.common.config.transports import split_name

ROOT = Path(__file__).parents[3]
# Read by the user's own settings, or by people.
FREE = {"mail_version", "alternate_config_directories"}


def test_every_parameter_is_used() -> None:
    programs = {
        "smtp" if entry.command == "lmtp" else entry.command for entry in master_cf.parse_text(shipped("master.cf"))[0]
    }
    missing = sorted(name for name in programs if not (ROOT / "services" / name / "__main__.py").exists())
    if missing:
        pytest.skip(f"not all programs are written yet: {', '.join(missing)}")
    sources = [
        path
        for folder in ("services", "master", "commands", "common")
        for path in (ROOT / folder).rglob("*.py")
        if "parameters" not in path.parts
    ]
    words = set(re.findall(r"\w+", " ".join(path.read_text(encoding="utf-8") for path in sources)))
    # Some are only the default of others.
    words |= {word for parameter in DECLARED.values() for word in re.findall(r"\w+", parameter.default)}
    unused = [
        parameter.name
        for parameter in declarations(Parameters)
        if not {parameter.name, parameter.attribute} & words
        and parameter.name not in FREE
        # Read under a name that is put together: qmgr's <transport>_…, rewrite's address_verify_….
        and split_name(parameter.name) is None
        and parameter.name.removeprefix("address_verify_") not in words
    ]
    assert unused == []
