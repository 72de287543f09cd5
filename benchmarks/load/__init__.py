"""What the benchmark of serving stands on: processes, the load tool, photos."""
