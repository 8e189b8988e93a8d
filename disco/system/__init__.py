"""The kernel: processes, signals, limits."""
