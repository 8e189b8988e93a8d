"""Data: from bytes to checked JSON values, and back to canonical bytes."""
