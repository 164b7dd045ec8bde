"""The cleanup program."""

from tubepost.common.skeleton import life, request

from tubepost.services.cleanup.session import Cleanup

if __name__ == "__main__":
    life.run("cleanup", request.serve(Cleanup))
