"""Start pickup."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.pickup.session import Pickup


def main(birth: Birth | None = None) -> None:
    life.run("pickup", request.serve(Pickup), birth)


if __name__ == "__main__":
    main()
