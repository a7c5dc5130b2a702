"""Starting, watching and changing live fleets."""
