"""Start the pipe delivery agent."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, worker

from tubepost.services.pipe.session import Pipe


def main(birth: Birth | None = None) -> None:
    life.run("pipe", worker.serve(Pipe), birth)


if __name__ == "__main__":
    main()
