"""Start authclient."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, stream

from tubepost.services.authclient.session import AuthClient


def main(birth: Birth | None = None) -> None:
    life.run("authclient", stream.serve(AuthClient), birth)


if __name__ == "__main__":
    main()
