"""Start the log program."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import datagram, life

from tubepost.services.log.session import Log


def main(birth: Birth | None = None) -> None:
    life.run("log", datagram.serve(Log), birth)


if __name__ == "__main__":
    main()
