"""A server that does not speak SMTP is told of to the postmaster, once, and not about mail to the postmaster."""

import socketserver
import threading
from collections.abc import Iterator

import pytest

from tests.fakes.instance import Instance


class Rude(socketserver.StreamRequestHandler):
    """Takes a greeting, and understands nothing else."""

    timeout = 20

    def handle(self) -> None:
        self.wfile.write(b"220 rude\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            self.wfile.write(
                b"250 rude\r\n" if verb == b"EHLO" else b"221 x\r\n" if verb == b"QUIT" else b"500 what?\r\n"
            )
            if verb == b"QUIT":
                return


@pytest.fixture
def port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Rude) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


def test_the_postmaster_reads_what_was_said(port: int) -> None:
    main = {
        "relayhost": f"[127.0.0.1]:{port}",
        "notify_classes": "protocol",
        "error_notice_recipient": "bob@example.test",
    }
    with Instance(main=main) as instance:
        with instance.smtp() as client:
            client.sendmail("alice@example.test", ["far@example.net"], "Subject: x\n\nbody\n")
        instance.log.wait(r"to=<far@example\.net>, .*status=bounced \(.*500 what\?")
        instance.log.wait(r"to=<bob@example\.test>, .*status=sent")
        (path,) = instance.messages("bob")
        text = path.read_text()
        assert f"Subject: tubepost SMTP client: errors from 127.0.0.1[127.0.0.1]:{port}\n" in text
        assert "\n Out: EHLO mail.example.test\n In:  250 rude\n Out: MAIL FROM:<alice@example.test>\n" in text
        assert "\n In:  500 what?\n" in text
        # Notices that cannot be delivered themselves are not told of: there would be no end to it.
        instance.set_main({"error_notice_recipient": "postmaster@far.example"})
        start = len(instance.log.lines)
        instance.command("tubepost", "-c", str(instance.conf), "reload")
        instance.log.wait(r"master\[\d+\]: reload", start=start)
        with instance.smtp() as client:
            client.sendmail("alice@example.test", ["far@example.net"], "Subject: x\n\nbody\n")
        notice = r"(\w+): to=<postmaster@far\.example>, .*status=bounced"
        (found,) = instance.log.wait(notice, start=start)
        instance.log.wait(rf"{found[1]}: removed", start=start)
        assert instance.log.count(notice) == 1
        assert instance.log.count(r"from=<double-bounce@") == 2
