"""Start the discard delivery agent."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, worker

from tubepost.services.discard.session import Discard


def main(birth: Birth | None = None) -> None:
    life.run("discard", worker.serve(Discard), birth)


if __name__ == "__main__":
    main()
