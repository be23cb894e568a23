"""The agent: owns the core on Trio, talks to the scheduler, and holds its processors by their handles."""
