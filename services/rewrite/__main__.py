"""Starts the program: ``python -m tubepost.services.rewrite``."""

from tubepost.common.skeleton import life, request

from tubepost.services.rewrite.session import Rewriter


def main() -> None:
    life.run("rewrite", request.serve(Rewriter))


if __name__ == "__main__":
    main()
