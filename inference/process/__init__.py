"""What a run is to its machine: lock, signals, heartbeat, watchdog, progress, read timeout, child processes. Imported by every room above."""
