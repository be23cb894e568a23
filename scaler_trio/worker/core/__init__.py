"""What a worker's agent decides, without IO: ``core`` takes ``events``; the rest is its parts.

``docs/explain/worker.md`` has a table of them.
"""
