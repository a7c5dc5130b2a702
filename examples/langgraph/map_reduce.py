"""Map-reduce: one joke for each subject at the same time, then the best of them."""

import operator
from typing import Annotated, TypedDict

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

model = ChatOpenAI(model="llama-3.1-8b", base_url="http://localhost:8000/v1")


class Topic(TypedDict, total=False):
    topic: str
    subjects: list[str]
    jokes: Annotated[list[str], operator.add]
    best: str


class Subject(TypedDict):
    subject: str


def subjects(state: Topic) -> Topic:
    return {"subjects": model.invoke(f"three subjects of {state['topic']}").text.split(",")}


def joke(state: Subject) -> Topic:
    return {"jokes": [model.invoke(f"a joke about {state['subject']}").text]}


def best(state: Topic) -> Topic:
    return {"best": model.invoke("\n".join(state["jokes"])).text}


def each_subject(state: Topic):
    return [Send("joke", {"subject": subject}) for subject in state["subjects"]]


builder = StateGraph(Topic)
builder.add_node(subjects)
builder.add_node(joke)
builder.add_node(best)
builder.add_edge(START, "subjects")
builder.add_conditional_edges("subjects", each_subject, ["joke"])
builder.add_edge("joke", "best")
builder.add_edge("best", END)
graph = builder.compile()
