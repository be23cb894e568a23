"""What a client decides, without IO: ``core`` takes ``events`` and gives ``effects``; the rest is its parts."""
