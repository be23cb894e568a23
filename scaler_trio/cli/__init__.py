"""The commands: read flags and environment, run a service."""
