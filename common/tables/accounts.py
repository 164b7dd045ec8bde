"""``accounts:section``: the built-in accounts (``tubepost user``, ``domain``, ``alias``) as lookup tables.

accounts:domains, accounts:mailboxes, accounts:aliases, accounts:uids, accounts:gids, accounts:quotas, accounts:logins;
what each answers is told in ``common.accounts.view``. A change is seen at once, without a reload.
"""

from tubepost.common.accounts.files import AccountsError
from tubepost.common.accounts.names import fold_name
from tubepost.common.accounts.view import SECTIONS, View
from tubepost.common.tables.table import Table, TableEnvironment, TableError


class AccountsTable(Table):
    __slots__ = ("view",)

    def __init__(self, kind: str, name: str, view: View) -> None:
        super().__init__(kind, name, False)
        self.view = view

    def _find(self, key: str) -> str | None:
        try:
            return self.view.find(self.name, fold_name(key))
        except AccountsError as error:
            raise TableError(f"{self.spec}: {error}") from error

    def close(self) -> None:
        self.view.close()


def open_table(kind: str, name: str, environment: TableEnvironment, fold: bool) -> Table:
    """See registry.Opener. All sections of one environment share one View."""
    if name not in SECTIONS:
        raise TableError(f"{kind}:{name}: there is no such part of the accounts: choose one of {', '.join(SECTIONS)}")
    if not environment.accounts_directory:
        raise TableError(f"{kind}:{name}: it is not known where the accounts are (accounts_directory)")
    for other in environment.opened.values():
        if isinstance(other, AccountsTable):
            return AccountsTable(kind, name, other.view)
    return AccountsTable(kind, name, View(environment.accounts_directory))
