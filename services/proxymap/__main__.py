"""Starts the program: ``python -m tubepost.services.proxymap``."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.proxymap.session import Proxymap


def main(birth: Birth | None = None) -> None:
    life.run("proxymap", request.serve(Proxymap), birth)


if __name__ == "__main__":
    main()
