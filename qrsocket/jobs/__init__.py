"""What becomes of a job: the state machine, its leases, and what its owner is told."""
