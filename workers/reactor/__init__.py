"""The reactor: file descriptors and timers, without a task for each."""
