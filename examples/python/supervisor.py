"""A supervisor on a large model hands work to two agents on small ones, until it says that it is done."""

from weft.agent import Message, Messages, Text, agent, branch, choice, data, llm, repeat

supervisor = llm(model="llama-3.3-70b", isl=1000, osl=60, max_tokens=200)
mathematician = llm(model="llama-3.2-3b", isl=500, osl=200, max_tokens=600)
researcher = llm(model="llama-3.1-8b", isl=800, osl=250, max_tokens=600)


@data
def open_chat(task: Text) -> Messages:
    return (Message("system", "Say ASK math, ASK research, or the answer."), Message("user", task))


@data
def note(chat: Messages, order: Text, result: Text) -> Messages:
    return (*chat, Message("assistant", order), Message("tool", result))


@data
def assign(order: Text) -> Messages:
    return (Message("user", order),)


@choice
def delegates(order: Text) -> bool:
    return order.startswith("ASK")


@choice
def is_math(order: Text) -> bool:
    return order.startswith("ASK math")


@agent
def office(task: Text) -> Text:
    chat = open_chat(task)
    while repeat(delegates(order := supervisor(chat)), probability=0.7, at_most=8):
        work = assign(order)
        if branch(is_math(order), probability=0.4):  # noqa: SIM108
            result = mathematician(work)
        else:
            result = researcher(work)
        chat = note(chat, order, result)
    return order
