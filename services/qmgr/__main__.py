"""Start qmgr."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.qmgr.session import QueueManager


def main(birth: Birth | None = None) -> None:
    life.run("qmgr", request.serve(QueueManager), birth)


if __name__ == "__main__":
    main()
