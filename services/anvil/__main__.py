"""Start anvil."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.anvil.session import Anvil


def main(birth: Birth | None = None) -> None:
    life.run("anvil", request.serve(Anvil), birth)


if __name__ == "__main__":
    main()
