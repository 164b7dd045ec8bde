"""Start rewrite."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.rewrite.session import Rewriter


def main(birth: Birth | None = None) -> None:
    life.run("rewrite", request.serve(Rewriter), birth)


if __name__ == "__main__":
    main()
