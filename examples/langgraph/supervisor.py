"""A supervisor hands work to two agents that run on smaller models."""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph_supervisor import create_supervisor


def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


def look_up(query: str) -> str:
    """Look something up."""
    return query


def served(name: str) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url="http://localhost:8000/v1")


mathematician = create_agent(served("llama-3.2-3b"), [add], name="mathematician")
researcher = create_agent(served("llama-3.1-8b"), [look_up], name="researcher")
graph = create_supervisor([mathematician, researcher], model=served("llama-3.3-70b")).compile()
