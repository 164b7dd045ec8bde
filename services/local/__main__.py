"""Start the local delivery agent."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, worker

from tubepost.services.local.session import Local


def main(birth: Birth | None = None) -> None:
    life.run("local", worker.serve(Local), birth)


if __name__ == "__main__":
    main()
