"""Start auth."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.auth.backends import registry
from tubepost.services.auth.session import Auth


def main(birth: Birth | None = None) -> None:
    life.run("auth", request.serve(Auth), birth, prepare=registry.prepare)


if __name__ == "__main__":
    main()
