"""The budgets of the architecture, measured: `make bench` runs every row beside its reference."""
