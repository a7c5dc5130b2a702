"""A single agent with tools (ReAct): the model calls tools until it can answer."""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def web_search(query: str) -> str:
    """Search the web."""
    return f"nothing about {query}"


@tool
def calculate(expression: str) -> str:
    """Work out an arithmetic expression."""
    return expression


model = ChatOpenAI(model="llama-3.1-8b", base_url="http://localhost:8000/v1")
agent = create_agent(model, [web_search, calculate], name="react")
