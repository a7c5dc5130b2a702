"""These tests need the extra `langgraph`. Without it they are skipped, but never in CI."""

import os
from importlib.util import find_spec

if find_spec("langgraph") is None:
    if os.environ.get("CI"):
        raise RuntimeError("the extra langgraph is not installed: pip install -c constraints.txt -e '.[langgraph]'")
    collect_ignore_glob = ["test_*.py"]
