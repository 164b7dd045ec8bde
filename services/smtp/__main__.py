"""Start the SMTP client; under the name lmtp it speaks LMTP."""

from tubepost.common.wire.master import Birth
from tubepost.common.skeleton import life, worker

from tubepost.services.smtp.session import Smtp


def main(birth: Birth | None = None) -> None:
    life.run("smtp", worker.serve(Smtp), birth)


if __name__ == "__main__":
    main()
