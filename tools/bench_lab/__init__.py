"""The inside of tools/bench: rows, where they run, and what disco is measured beside."""
