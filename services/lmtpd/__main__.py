"""Starts lmtpd."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, stream, tls

from tubepost.services.lmtpd.server import Lmtpd


def main(birth: Birth | None = None) -> None:
    life.run("lmtpd", stream.serve(Lmtpd), birth, prepare=tls.prepare("lmtpd"))


if __name__ == "__main__":
    main()
