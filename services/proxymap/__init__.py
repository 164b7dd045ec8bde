"""proxymap: looks up tables for programs that may not, or should not, open them (Postfix proxymap(8)).

What it does. As ``proxymap`` it answers look-ups in tables that are named in proxy_read_maps (as ``proxy:type:name``);
one process with one connection to a database server so serves many programs, and confined programs reach files outside
of their cage. As ``proxywrite``, one process only, it also changes tables that are named in proxy_write_maps.

Who calls it. Every program with ``proxy:`` tables, through ``common/wire/proxymap``.

What it may touch. It reads the tables of its list, over the network too; proxywrite writes those of its own list.

Known limits. A table that may be asked may be asked for everything in it: list no table with secrets. A key is answered
exactly as asked; folding of case is the caller's.
"""
