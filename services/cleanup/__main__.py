"""Start cleanup."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.cleanup.session import Cleanup


def main(birth: Birth | None = None) -> None:
    life.run("cleanup", request.serve(Cleanup), birth)


if __name__ == "__main__":
    main()
