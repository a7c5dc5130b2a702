"""Retrieval as a chain: context and question side by side, a cheap model first, small talk on a branch of its own."""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableBranch, RunnablePassthrough
from langchain_openai import ChatOpenAI

small = ChatOpenAI(model="llama-3.1-8b", base_url="http://localhost:8000/v1")
large = ChatOpenAI(model="llama-3.3-70b", base_url="http://localhost:8000/v1")
from_passages = ChatPromptTemplate.from_template("Answer {question} from {context}.")
in_short = ChatPromptTemplate.from_template("Answer in one sentence: {question}")


def look_up(question: str) -> str:
    return f"a passage about {question}"


def is_small_talk(question: str) -> bool:
    return len(question) < 20


answer = {"context": look_up, "question": RunnablePassthrough()} | from_passages | large.with_fallbacks([small])
chain = RunnableBranch((is_small_talk, in_short | small), answer) | StrOutputParser()
