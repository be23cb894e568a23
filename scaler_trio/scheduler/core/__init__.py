"""All decisions about tasks, without IO: ``core`` takes events and gives ``effects``; the rest is its parts.

``docs/explain/scheduler.md`` has a table of them.
"""
