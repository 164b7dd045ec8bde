"""Start the error delivery agent."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, worker

from tubepost.services.error.session import Error


def main(birth: Birth | None = None) -> None:
    life.run("error", worker.serve(Error), birth)


if __name__ == "__main__":
    main()
