"""Lookup tables, ``type:name`` as in Postfix (DATABASE_README): one interface, one module a type.

* ``open_table(spec, environment=…)`` one table; ``Maps(specs, environment)`` several in order, first hit wins;
  ``await x.lookup(key)``, or ``x.find(key)`` where ``x.immediate``; ``TableError``: cannot tell now, defer.
* ``address.find(maps, address, …)``: Postfix's search for user+ext@domain and its parts.
* ``match``: Postfix's match lists (DomainList, HostList, AddressList, StringList).
* ``compile``: building of tables from their source (postmap, postalias, newaliases).
"""

from tubepost.common.tables.maps import Maps
from tubepost.common.tables.registry import known_types, open_table
from tubepost.common.tables.table import ProxyAsk, ProxyWrite, Table, TableEnvironment, TableError

__all__ = [
    "Maps",
    "ProxyAsk",
    "ProxyWrite",
    "Table",
    "TableEnvironment",
    "TableError",
    "known_types",
    "open_table",
]
