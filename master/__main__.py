"""``python -m tubepost.master -c DIR``."""

import argparse
import os
import sys

from tubepost.master.main import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="master", description="The supervising process of one instance.")
    parser.add_argument("-c", dest="directory", default=os.environ.get("MAIL_CONFIG", "/etc/tubepost"))
    parser.add_argument("--ready-fd", type=int, default=-1, help="a byte is written here when the system is ready")
    parser.add_argument("--parent-fd", type=int, default=-1, help="the system stops when this one is at its end")
    options = parser.parse_args()
    sys.exit(run(os.path.abspath(options.directory), options.ready_fd, options.parent_fd))


if __name__ == "__main__":
    main()
