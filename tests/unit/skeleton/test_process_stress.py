"""Stress comes and goes while a process runs; what is being written into main.cf meanwhile waits for a reload."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tubepost.common.config import load
from tubepost.common.skeleton.process import Process

MAIN = "smtpd_timeout = ${stress?{10}:{300}}s\nsmtpd_hard_error_limit = 7\n"


def test_stress_changes_what_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    async def work() -> None:
        main = tmp_path / "main.cf"
        main.write_text(MAIN)
        overrides = (("smtpd_banner", "own"),)
        birth: Any = SimpleNamespace(
            service="smtp", program="smtpd", config_directory=str(tmp_path), overrides=overrides
        )
        bus: Any = SimpleNamespace(loop=asyncio.get_running_loop())
        process = Process(birth, load(str(tmp_path), dict(overrides)), bus, None)
        told: list[bool] = []
        process.on_stress.append(lambda: told.append(process.stress))
        main.write_text("half a line\nsmtpd_hard_error_limit = many\n")
        for wanted, timeout in ((True, 10), (True, 10), (False, 300)):
            process.set_stress(wanted)
            assert process.stress is wanted
            assert process.config.smtpd_timeout == timeout
            assert process.config.smtpd_hard_error_limit == 7
            assert process.config.smtpd_banner == "own"
        assert told == [True, False]

    asyncio.run(work())
