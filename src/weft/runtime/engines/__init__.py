"""Engines: one Protocol (base) and its implementations."""
