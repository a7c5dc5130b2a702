"""Large placement problems: a bound from prices on what options share, and a search for a placement near it."""
