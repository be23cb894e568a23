"""Whole clusters: the launcher that starts and watches services, and the combo that owns one from Python."""
