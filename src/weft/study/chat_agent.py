"""The agent of the studies that simulate: one call of a model. Sizes and rates come from the load."""

from weft.agent import Message, Messages, Text, agent, data, llm

answer = llm(model="llama-3.1-70b", isl=1024, osl=256, max_tokens=1024)


@data
def ask(question: Text) -> Messages:
    return (Message("user", question),)


@agent
def chat(question: Text) -> Text:
    return answer(ask(question))
