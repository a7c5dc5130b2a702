"""An interpreter of agent modules with stub models: the oracle that says whether two modules mean the same.

`interpret(module, seed)` runs the agent once and gives an `AgentResult`. See `result` for what counts as the result,
`values` for what stands in for texts and replies.
"""

from weft.compiler.interpret.result import AgentResult, Interpretation, Visit
from weft.compiler.interpret.run import interpret

__all__ = ["AgentResult", "Interpretation", "Visit", "interpret"]
