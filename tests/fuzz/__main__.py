"""``python -m tests.fuzz NAME -max_total_time=SECONDS``: see driver.py."""

import sys

from tests.fuzz.driver import main

if __name__ == "__main__":
    main(sys.argv[1:])
