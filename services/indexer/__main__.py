"""Starts the indexer."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, request

from tubepost.services.indexer.session import Indexer


def main(birth: Birth | None = None) -> None:
    life.run("indexer", request.serve(Indexer), birth)


if __name__ == "__main__":
    main()
