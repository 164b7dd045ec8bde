"""For all tests: how hypothesis explores."""

import os

from hypothesis import settings

# A change is judged by the same examples on every machine; exploring goes on wherever a person runs the tests.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "explore")
