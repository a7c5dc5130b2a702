"""Weft plans, compiles and runs AI agents on mixed hardware."""
