"""What people write (configuration, rules), loaded and checked before anything starts."""
