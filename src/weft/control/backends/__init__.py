"""Where node processes come from; local: child processes of this one."""
