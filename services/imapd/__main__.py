"""Starts imapd."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, stream, tls

from tubepost.services.imapd.server import Imapd


def main(birth: Birth | None = None) -> None:
    life.run("imapd", stream.serve(Imapd), birth, prepare=tls.prepare("imapd"))


if __name__ == "__main__":
    main()
