"""A graph of its own shape: support tickets are looked up, graded, asked again in other words, drafted and reviewed."""

from typing import Literal, TypedDict

from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

small = ChatOpenAI(model="llama-3.1-8b", base_url="http://localhost:8000/v1")
large = ChatOpenAI(model="llama-3.3-70b", base_url="http://localhost:8000/v1")


class Ticket(TypedDict, total=False):
    text: str
    question: str
    passages: list[str]
    grade: str
    draft: str
    tries: int


def redact(state: Ticket) -> Ticket:
    """Personal data never reaches a model."""
    return {"question": " ".join(word for word in state["text"].split() if "@" not in word), "tries": 0}


def retrieve(state: Ticket) -> Ticket:
    return {"passages": [f"a passage about {state['question']}"], "tries": state["tries"] + 1}


def grade(state: Ticket) -> Ticket:
    return {"grade": small.invoke(f"Do these answer {state['question']}? {state['passages']}").text}


def enough(state: Ticket) -> Literal["rewrite", "write"]:
    return "rewrite" if state["grade"].startswith("no") and state["tries"] < 3 else "write"


def rewrite(state: Ticket) -> Ticket:
    return {"question": small.invoke(f"Ask in other words: {state['question']}").text}


def write(state: Ticket) -> Ticket:
    return {"draft": large.invoke(f"Answer {state['question']} from {state['passages']}").text}


def review(state: Ticket) -> Command[Literal["write", "send"]]:
    return Command(goto="send" if interrupt(state["draft"]) == "fine" else "write")


def send(state: Ticket) -> Ticket:
    return {"text": state["draft"]}


builder = StateGraph(Ticket)
for node in (redact, retrieve, grade, rewrite, write, review, send):
    builder.add_node(node)
builder.add_edge(START, "redact")
builder.add_edge("redact", "retrieve")
builder.add_edge("retrieve", "grade")
builder.add_conditional_edges("grade", enough)
builder.add_edge("rewrite", "retrieve")
builder.add_edge("write", "review")
builder.add_edge("send", END)
graph = builder.compile(checkpointer=InMemorySaver())
