"""Open Agent Specification (`pyagentspec`), in and out: flows and agents that other runtimes read."""
