"""A draft is checked by two readers at the same time; a person then approves it or sends it back."""

import operator
from typing import Annotated, Literal, TypedDict

from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

model = ChatOpenAI(model="llama-3.1-8b", base_url="http://localhost:8000/v1")


class Article(TypedDict, total=False):
    subject: str
    draft: str
    remarks: Annotated[list[str], operator.add]


def write(state: Article) -> Article:
    return {"draft": model.invoke(state["subject"]).text}


def check_facts(state: Article) -> Article:
    return {"remarks": [model.invoke(f"which facts are wrong? {state['draft']}").text]}


def check_style(state: Article) -> Article:
    return {"remarks": [model.invoke(f"what reads badly? {state['draft']}").text]}


def approve(state: Article) -> Command[Literal["write", "publish"]]:
    answer = interrupt({"draft": state["draft"], "remarks": state["remarks"]})
    return Command(goto="publish" if answer == "yes" else "write")


def publish(state: Article) -> Article:
    return {}


builder = StateGraph(Article)
builder.add_node(write, retry_policy=RetryPolicy(max_attempts=5))
builder.add_node(check_facts)
builder.add_node(check_style)
builder.add_node(approve)
builder.add_node(publish)
builder.add_edge(START, "write")
builder.add_edge("write", "check_facts")
builder.add_edge("write", "check_style")
builder.add_edge(["check_facts", "check_style"], "approve")
builder.add_edge("publish", END)
graph = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["publish"])
