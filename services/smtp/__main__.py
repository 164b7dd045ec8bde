"""Start the SMTP client; under the name lmtp it speaks LMTP."""

from tubepost.common.wire.master import Birth
from tubepost.common.config import Config
from tubepost.common.skeleton import life, worker

from tubepost.services.smtp import security
from tubepost.services.smtp.session import Smtp


def main(birth: Birth | None = None) -> None:
    lmtp = birth is not None and birth.program == "lmtp"

    def prepare(config: Config) -> object:
        return security.prepare(config, lmtp=lmtp)

    life.run("smtp", worker.serve(Smtp), birth, prepare=prepare)


if __name__ == "__main__":
    main()
