"""Every parameter, declared once, by subject. Names, meanings and defaults are Postfix's unless marked otherwise."""

from tubepost.common.config.parameters.auth import Auth
from tubepost.common.config.parameters.bounce import Bounce
from tubepost.common.config.parameters.cleanup import Cleanup
from tubepost.common.config.parameters.general import General
from tubepost.common.config.parameters.imapd import Imapd
from tubepost.common.config.parameters.indexer import Indexer
from tubepost.common.config.parameters.lmtpd import Lmtpd
from tubepost.common.config.parameters.local import Local
from tubepost.common.config.parameters.log import Log
from tubepost.common.config.parameters.master import Master
from tubepost.common.config.parameters.pipe import Pipe
from tubepost.common.config.parameters.pop3d import Pop3d
from tubepost.common.config.parameters.qmgr import Qmgr
from tubepost.common.config.parameters.queue import Queue
from tubepost.common.config.parameters.rewrite import Rewrite
from tubepost.common.config.parameters.smtp import Smtp
from tubepost.common.config.parameters.smtpd import Smtpd
from tubepost.common.config.parameters.smtpd_access import SmtpdAccess
from tubepost.common.config.parameters.smtpd_policy import SmtpdPolicy
from tubepost.common.config.parameters.tables import Tables
from tubepost.common.config.parameters.tls import Tls
from tubepost.common.config.parameters.verify import Verify
from tubepost.common.config.parameters.virtual import Virtual

SUBJECTS: tuple[type, ...] = (
    General,
    Queue,
    Master,
    Log,
    Tables,
    Auth,
    Smtpd,
    SmtpdAccess,
    SmtpdPolicy,
    Tls,
    Cleanup,
    Rewrite,
    Qmgr,
    Local,
    Virtual,
    Imapd,
    Indexer,
    Pop3d,
    Lmtpd,
    Smtp,
    Pipe,
    Bounce,
    Verify,
)


class Parameters(
    General,
    Queue,
    Master,
    Log,
    Tables,
    Auth,
    Smtpd,
    SmtpdAccess,
    SmtpdPolicy,
    Tls,
    Cleanup,
    Rewrite,
    Qmgr,
    Local,
    Virtual,
    Imapd,
    Indexer,
    Pop3d,
    Lmtpd,
    Smtp,
    Pipe,
    Bounce,
    Verify,
):
    """All of them in one class."""


__all__ = ["SUBJECTS", "Parameters"]
