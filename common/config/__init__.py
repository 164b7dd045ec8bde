"""main.cf and master.cf as typed values (floor 2).

``load(directory)`` reads main.cf; ``inspect`` does for a person: bad lines do not stop it, ``check()`` lists them.
``Config`` has one typed attribute a parameter, declared once in ``parameters/``; ``master_cf.parse(path)`` reads the
services. What is wrong comes as ``ConfigError`` when a program must stop, or all together from ``Config.check()``.
"""

from tubepost.common.config.faults import ConfigError, Fault
from tubepost.common.config.settings import DECLARED, Config, Place, from_text, inspect, load

__all__ = ["DECLARED", "Config", "ConfigError", "Fault", "Place", "from_text", "inspect", "load"]
