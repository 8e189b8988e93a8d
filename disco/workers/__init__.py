"""What the coordinator's children run: all of them begin in `entry`, and become a watcher, a runner or the checker."""
