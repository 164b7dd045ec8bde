"""Starts notify."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.notify.session import Notify


def main(birth: Birth | None = None) -> None:
    life.run("notify", request.serve(Notify), birth)


if __name__ == "__main__":
    main()
