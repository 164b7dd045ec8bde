"""Start showq."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.showq.session import Showq


def main(birth: Birth | None = None) -> None:
    life.run("showq", request.serve(Showq), birth)


if __name__ == "__main__":
    main()
