"""What asks a fleet for work: arrival processes, public traces, and our own JSON lines (docs/traces.md)."""
