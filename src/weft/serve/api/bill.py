"""What one request used: its endpoint adds to it, who counts for tenants and writes the audit log reads it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Bill:
    model: str = ""
    tokens: int = 0
    usd: float = 0.0

    def add(self, tokens: int, usd: float) -> None:
        self.tokens += tokens
        self.usd += usd
