"""What a reload is to change, made ready before anything is: a mistake in it leaves all as it was."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from tubepost.common.config import Config, ConfigError, load
from tubepost.common.config.owners import bus_group, make_directories

from tubepost.master import sockets, table
from tubepost.master.table import Service

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """``opened``: the sockets of new services, and of those whose path is another now."""

    config: Config
    services: Mapping[Key, Service]
    opened: Mapping[Key, list[socket.socket]]


def read_services(directory: str, config: Config) -> dict[Key, Service]:
    """Of master.cf. Raises ConfigError with the first mistake."""
    services, faults = table.read(directory, config)
    for fault in faults:
        if fault.severity == "error":
            raise ConfigError(fault.reason, file=fault.file, line=fault.line, name=fault.name)
    return services


def prepare(
    directory: str, known: Mapping[Key, Service], listening: Mapping[Key, list[socket.socket]], owner: sockets.Owner
) -> Plan:
    """``known`` and ``listening``: the services as they are, and their sockets. Raises ConfigError, OSError."""
    config = load(directory)
    services = read_services(directory, config)
    if os.path.realpath(config.queue_directory) != os.path.realpath("."):
        raise config.bad_value("queue_directory", "cannot change at reload: stop and start")
    if bus_group(config) != owner.bus:
        raise config.bad_value("protocol_owner", "cannot change at reload: stop and start")
    make_directories(config)
    # A port whose service is only called otherwise now (2525, 127.0.0.1:2525) is not lost for a moment.
    leaving = [
        listener
        for key, service in known.items()
        if key not in services and service.kind == "inet"
        for listener in listening[key]
    ]
    opened: dict[Key, list[socket.socket]] = {}
    try:
        for key, service in services.items():
            if key not in known or service.path != known[key].path:
                opened[key] = sockets.open_service(service, config, owner, leaving)
    except BaseException:
        for listeners in opened.values():
            for listener in listeners:
                listener.close()
        raise
    return Plan(config, services, opened)
