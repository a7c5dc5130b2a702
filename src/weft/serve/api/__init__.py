"""The HTTP face of a running deployment: OpenAI's API, with agents as models."""
