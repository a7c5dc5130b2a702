"""The steps of an agent that run beside the language model: speech in, search, tool calls, speech out."""
