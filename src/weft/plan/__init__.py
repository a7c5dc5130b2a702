"""Decisions on plain data: which option serves each step, and how many replicas of each pool."""
