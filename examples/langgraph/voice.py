"""The paper's Figure 2 as LangGraph: speech in, a loop of thinking and looking up, speech out."""

from typing import TypedDict

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph

model = ChatOpenAI(model="llama-3-8b", base_url="http://localhost:8000/v1")


class Call(TypedDict, total=False):
    audio: bytes
    text: str
    passage: str
    searches: int


def hear(state: Call) -> Call:
    return {"text": "what is it that you would like to know?"}


def think(state: Call) -> Call:
    return {"text": model.invoke(state["text"]).text}


def look_up(state: Call) -> Call:
    return {"passage": "a passage", "searches": state.get("searches", 0) + 1}


def speak(state: Call) -> Call:
    return {"audio": b""}


def enough(state: Call):
    """No annotation and no path map: only this code says where it goes."""
    return "look_up" if state["text"].startswith("search") and state.get("searches", 0) < 3 else "speak"


builder = StateGraph(Call)
builder.add_node(hear)
builder.add_node(think)
builder.add_node(look_up)
builder.add_node(speak)
builder.add_edge(START, "hear")
builder.add_edge("hear", "think")
builder.add_conditional_edges("think", enough)
builder.add_edge("look_up", "think")
builder.add_edge("speak", END)
graph = builder.compile()
