"""Start the virtual delivery agent."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, worker

from tubepost.services.virtual.session import Virtual


def main(birth: Birth | None = None) -> None:
    life.run("virtual", worker.serve(Virtual), birth)


if __name__ == "__main__":
    main()
