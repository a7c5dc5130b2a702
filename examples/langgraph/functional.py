"""The functional API: tasks called from an entrypoint. What it calls is read from its source."""

from langchain_openai import ChatOpenAI
from langgraph.func import entrypoint, task

model = ChatOpenAI(model="llama-3.1-8b", base_url="http://localhost:8000/v1")


@task
def outline(subject: str) -> str:
    return model.invoke(f"an outline on {subject}").text


@task
def essay(points: str) -> str:
    return model.invoke(points).text


@entrypoint()
def write(subject: str) -> str:
    return essay(outline(subject).result()).result()
