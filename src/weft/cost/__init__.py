"""Physics: what model steps, transfers and device-hours cost. Pure functions; no catalogue, no clock, no I/O."""
