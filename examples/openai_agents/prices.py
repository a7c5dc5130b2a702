"""An OpenAI Agents SDK program as its authors write it. OPENAI_BASE_URL says who serves its model."""

from dataclasses import dataclass
from typing import Literal

from agents import Agent, ModelSettings, Runner, function_tool


@dataclass
class Verdict:
    cheaper: Literal["H100", "A40"]


@function_tool
def price(device: Literal["H100", "A40"]) -> str:
    """The price of a device."""
    return f"{device} costs {30000 if device == 'H100' else 5000} dollars"


agent = Agent(
    name="prices",
    instructions="Look prices up.",
    model="llama-3.1-8b",
    tools=[price],
    model_settings=ModelSettings(tool_choice="required"),
    output_type=Verdict,
)


def ask(question: str):
    return Runner.run_sync(agent, question)
