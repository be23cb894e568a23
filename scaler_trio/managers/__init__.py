"""Worker managers: they connect to the scheduler, hear how many units it wants, and start and end those."""
