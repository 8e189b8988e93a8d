"""Messages and log records between disco's processes, and their form on the wire."""
