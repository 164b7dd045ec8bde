"""Starts smtpd."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, stream, tls

from tubepost.services.smtpd.server import Smtpd


def main(birth: Birth | None = None) -> None:
    life.run("smtpd", stream.serve(Smtpd), birth, prepare=tls.prepare("smtpd"))


if __name__ == "__main__":
    main()
