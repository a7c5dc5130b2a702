"""Durable agent runs: each is logged step by step, and goes on at its last completed step after any crash.

run        what is kept of a run, and its events
log        where they are kept: tables over SQLite or PostgreSQL; schema, codec: how
writer     one thread that writes what all runs log, many events a commit
replay     what is left to do of a run, from its events
journal    a live run's side of the log
runs       submit, follow, cancel, answer; goes on with what a crash interrupted
webhooks   tells others when a run has ended, signed and retried
"""
