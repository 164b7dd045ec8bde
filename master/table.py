"""master.cf as the master runs it: services with their limits."""

from dataclasses import dataclass
from typing import Literal

from tubepost.common.config import Config, ConfigError, Fault, master_cf

# Programs whose name in the command column differs from the folder that serves them (Postfix's names are taken too).
ALIASES = {"lmtp": "smtp", "trivial-rewrite": "rewrite", "postlogd": "log", "retry": "error"}


@dataclass(frozen=True, slots=True)
class Service:
    """One line of master.cf, with what main.cf says about its processes."""

    name: str
    kind: Literal["inet", "unix", "unix-dgram"]
    path: str
    program: str
    folder: str
    arguments: tuple[str, ...]
    overrides: tuple[tuple[str, str], ...]
    private: bool
    unprivileged: bool
    wakeup: float
    wakeup_if_used: bool
    maxproc: int
    """0: no limit."""
    min_avail: int
    client_limit: int
    throttle_time: float
    verbose: bool

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.kind


def read(directory: str, config: Config) -> tuple[dict[tuple[str, str], Service], list[Fault]]:
    """All enabled services of ``directory``/master.cf, and everything that is wrong with it."""
    entries, faults = master_cf.read(f"{directory}/master.cf")
    found = list(faults)
    services: dict[tuple[str, str], Service] = {}
    disabled = frozenset(config.master_service_disable)
    for entry in entries:
        if entry.type in disabled or f"{entry.service}.{entry.type}" in disabled:
            continue
        own = config.with_overrides(dict(entry.overrides))
        try:
            service = Service(
                name=entry.service,
                kind=entry.type,
                path=entry.path,
                program=entry.command,
                folder=ALIASES.get(entry.command, entry.command),
                arguments=entry.arguments,
                overrides=entry.overrides,
                private=entry.private,
                unprivileged=entry.unprivileged,
                wakeup=entry.wakeup,
                wakeup_if_used=entry.wakeup_if_used,
                maxproc=own.default_process_limit if entry.maxproc is None else entry.maxproc,
                min_avail=own.process_min_avail,
                client_limit=own.client_limit,
                throttle_time=own.service_throttle_time,
                verbose=entry.verbose > 0,
            )
        except ConfigError as error:
            found.append(Fault(entry.file, entry.line, entry.name, str(error)))
            continue
        services[service.key] = service
    return services, found
