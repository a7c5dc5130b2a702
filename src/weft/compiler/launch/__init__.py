"""Launch specs: a pool of a plan → the exact command of the engine that serves it, as data. Pure: no I/O."""
