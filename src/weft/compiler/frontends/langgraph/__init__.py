"""LangGraph programs: run in a sandboxed process, read from their builders, then turned into a module.

`load.py` starts the process, `child.py` is what runs there; between them travels the plain data of `graph.py`.
"""
