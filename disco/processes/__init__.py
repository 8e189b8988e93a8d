"""The children's processes, as the coordinator has them: their descriptors, what is read from these, and their ends."""
