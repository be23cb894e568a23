"""The terminal dashboard. Built on the wire protocol and the configuration only, so that it can watch from anywhere."""
