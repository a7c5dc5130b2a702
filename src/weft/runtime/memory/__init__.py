"""What agents remember and search: vector stores and conversations, each behind a protocol, opened by address."""
