"""How frames move between processes: one Protocol (base), in memory and over TCP."""
