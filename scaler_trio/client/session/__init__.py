"""The connection behind a client: the core and its lock, the thread of the link, and what runs beside them."""
