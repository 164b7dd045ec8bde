"""Starts pop3d."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, stream, tls

from tubepost.services.pop3d.server import Pop3d


def main(birth: Birth | None = None) -> None:
    life.run("pop3d", stream.serve(Pop3d), birth, prepare=tls.prepare("pop3d"))


if __name__ == "__main__":
    main()
