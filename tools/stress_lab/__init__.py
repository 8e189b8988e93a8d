"""The inside of tools/stress, from the plan that a seed decides to what is said at the end."""
