"""Graphs of programs of other frameworks as plain data, and the one way from them to a module."""
