"""The KV cache outside an engine: its wire format."""
