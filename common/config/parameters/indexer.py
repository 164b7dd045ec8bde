"""The program that indexes mailboxes in the background (indexer)."""

from tubepost.common.config.declare import Boolean, Integer, Settings, Text


class Indexer(Settings):
    indexer_service_name = Text("indexer", "Service that is told which mailboxes to index.", low=1, postfix=False)
    indexer_nice = Integer(
        "10", "How far it stands back behind other programs for the processor, 0 to 19.", low=0, high=19, postfix=False
    )
    indexer_full_text = Boolean(
        "yes",
        "Take the texts of new mail into the full-text index before anybody searches. With no, the first search does.",
        postfix=False,
    )
