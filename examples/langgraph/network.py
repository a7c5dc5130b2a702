"""A network of peers: each agent decides who speaks next. One declares where it may go, two let only their code say."""

from typing import Literal

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command

model = ChatOpenAI(model="llama-3.1-8b", base_url="http://localhost:8000/v1")


def planner(state: MessagesState) -> Command[Literal["coder", "critic", "__end__"]]:
    reply = model.invoke(state["messages"])
    goto = "coder" if "code" in reply.text else "critic" if "why" in reply.text else END
    return Command(goto=goto, update={"messages": [reply]})


def coder(state: MessagesState):
    reply = model.invoke(state["messages"])
    return Command(goto="critic" if reply.text else "planner", update={"messages": [reply]})


def critic(state: MessagesState):
    reply = model.invoke(state["messages"])
    return Command(goto=reply.additional_kwargs["next"], update={"messages": [reply]})


graph = (
    StateGraph(MessagesState)
    .add_node("planner", planner)
    .add_node("coder", coder)
    .add_node("critic", critic)
    .add_edge(START, "planner")
    .compile()
)
