"""The scheduler: ``core`` decides, synchronously and without IO; the actors around it serve it on Trio."""
