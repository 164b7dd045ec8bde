"""Start bounce; defer and trace are the same program."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.bounce.session import Bounce


def main(birth: Birth | None = None) -> None:
    life.run("bounce", request.serve(Bounce), birth)


if __name__ == "__main__":
    main()
