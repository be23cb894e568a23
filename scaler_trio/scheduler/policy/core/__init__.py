"""How many units each worker manager should run: pure functions from a view of the cluster to decisions."""
