"""Programs that drive themselves: unmodified LangGraph code in a process of its own, whose model calls Weft serves."""
