"""Tools: Python functions and MCP servers, each in a child process that can neither hang, flood nor eat the node."""
