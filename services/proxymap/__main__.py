"""Starts the program: ``python -m tubepost.services.proxymap``."""

from tubepost.common.skeleton import life, request

from tubepost.services.proxymap.session import Proxymap


def main() -> None:
    life.run("proxymap", request.serve(Proxymap))


if __name__ == "__main__":
    main()
