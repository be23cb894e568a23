"""``baremetal_native``: units are worker processes on this machine, forked by a launcher of their manager."""
