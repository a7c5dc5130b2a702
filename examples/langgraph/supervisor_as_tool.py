"""A supervisor that has its agents as tools: each runs to its end inside a tool call."""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

small = ChatOpenAI(model="llama-3.1-8b", base_url="http://localhost:8000/v1")
large = ChatOpenAI(model="llama-3.3-70b", base_url="http://localhost:8000/v1")


@tool
def search_flights(route: str) -> str:
    """Search flights."""
    return route


flights = create_agent(small, [search_flights], name="flights")


@tool
def book_flight(request: str) -> str:
    """Let the flight agent find and book a flight."""
    return flights.invoke({"messages": [("user", request)]})["messages"][-1].text


@tool
def today() -> str:
    """Today's date."""
    return "2026-11-21"


graph = create_agent(large, [book_flight, today], name="travel")
