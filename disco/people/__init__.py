"""What people read: the log, the report, and the answers of --check, --dry-run and --graph."""
