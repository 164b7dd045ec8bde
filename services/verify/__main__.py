"""Start verify."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.verify.session import Verify


def main(birth: Birth | None = None) -> None:
    life.run("verify", request.serve(Verify), birth)


if __name__ == "__main__":
    main()
