"""Values that name files, whose content is meant (Postfix: ``postmap -F``, tls_server_sni_maps)."""

import base64

from tubepost.common.tables.table import TableEnvironment, TableError
from tubepost.common.tables.words import SyntaxFault, split_list

# Keys and certificates; a larger file was named by mistake.
_LIMIT = 4 * 1024 * 1024


def join_files(names: str) -> str:
    """The content of the files named, a newline between them, as base64 text. Raises TableError."""
    contents = []
    try:
        found = split_list(names)
    except SyntaxFault as fault:
        raise TableError(str(fault)) from fault
    for name in found:
        try:
            with open(name, "rb") as file:
                contents.append(file.read(_LIMIT + 1))
        except OSError as error:
            raise TableError(f"open {name}: {error.strerror}") from error
        if len(contents[-1]) > _LIMIT:
            raise TableError(f"{name}: larger than {_LIMIT} bytes")
    if not contents:
        raise TableError("empty pathname list")
    return base64.b64encode(b"\n".join(contents)).decode("ascii")


def read_value(value: str, environment: TableEnvironment, place: str) -> str | None:
    """The value of a table whose source is read when it is opened: itself, or what its files hold as base64 text.

    None where they cannot be read, which is warned of; ``place`` says where the value stands.
    """
    if environment.files is None:
        return value
    try:
        content = join_files(value)
    except TableError as error:
        environment.warn(f"{place}: {error}: skipping this entry")
        return None
    environment.files += split_list(value)
    return content
