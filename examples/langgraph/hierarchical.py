"""Teams of teams: a head over two supervisors, each over its own agents."""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph_supervisor import create_supervisor

small = ChatOpenAI(model="llama-3.1-8b", base_url="http://localhost:8000/v1")
large = ChatOpenAI(model="llama-3.3-70b", base_url="http://localhost:8000/v1")


def search(query: str) -> str:
    """Search the web."""
    return query


def read_page(url: str) -> str:
    """Read one page."""
    return url


def write_file(text: str) -> str:
    """Write a file."""
    return text


searcher = create_agent(small, [search], name="searcher")
reader = create_agent(small, [read_page], name="reader")
writer = create_agent(small, [write_file], name="writer")
research = create_supervisor([searcher, reader], model=large, supervisor_name="research_lead").compile(name="research")
writing = create_supervisor([writer], model=large, supervisor_name="writing_lead").compile(name="writing")
graph = create_supervisor([research, writing], model=large, supervisor_name="head").compile(name="head_office")
