"""Delivery to commands (the pipe program)."""

from tubepost.common.config.declare import Maps, Settings


class Pipe(Settings):
    pipe_delivery_status_filter = Maps(
        "$default_delivery_status_filter", "Table that changes the status of deliveries."
    )
