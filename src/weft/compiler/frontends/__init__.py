"""Agent programs in, modules out: one file per kind of program."""
