"""Being a process, and having some: what services, workers and launchers share, whatever they do."""
