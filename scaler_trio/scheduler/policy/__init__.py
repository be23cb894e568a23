"""Desired capacity: pure policies in ``core``, and what runs them."""
