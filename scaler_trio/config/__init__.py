"""Settings, and where a process finds what it was not told."""
