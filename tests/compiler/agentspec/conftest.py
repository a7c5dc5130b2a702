"""These tests need the extra `agentspec`. Without it they are skipped, but never in CI."""

import os
from importlib.util import find_spec

if find_spec("pyagentspec") is None:
    if os.environ.get("CI"):
        raise RuntimeError("the extra agentspec is not installed: pip install -c constraints.txt -e '.[agentspec]'")
    collect_ignore_glob = ["test_*.py"]
