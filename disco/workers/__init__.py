"""The processes that work for the coordinator: runners, around handlers, and the checker, around merging and validating."""
