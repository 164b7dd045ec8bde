"""The supervising process: reads master.cf, opens sockets, keeps children."""
