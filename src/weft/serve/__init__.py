"""Driving agent runs on live nodes."""
