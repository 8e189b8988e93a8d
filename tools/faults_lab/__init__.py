"""The inside of tools/faults: rows, what misbehaves in them, and how one is run and judged."""
