"""Documents and schemas: from bytes to checked data, and back to canonical bytes."""
