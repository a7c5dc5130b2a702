"""What a node process needs and no more: engines, KV on the wire, transports, the node and its client."""
