"""Start flush."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.flush.session import Flush


def main(birth: Birth | None = None) -> None:
    life.run("flush", request.serve(Flush), birth)


if __name__ == "__main__":
    main()
