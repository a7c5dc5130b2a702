"""A supervisor whose tool is an agent: each call of the flight agent runs that agent's own loop to its end."""

from weft.agent import Message, Messages, Text, agent, choice, data, llm, repeat, search

supervisor = llm(model="llama-3.3-70b", isl=900, osl=80, max_tokens=300)
flights = llm(model="llama-3.1-8b", isl=700, osl=60, max_tokens=200)
search_flights = search(corpus="flights", core_s=0.005)


@data
def open_chat(request: Text) -> Messages:
    return (Message("system", "Say BOOK and a route, or answer the traveller."), Message("user", request))


@data
def assign(order: Text) -> Messages:
    return (Message("system", "Say SEARCH and a route until one flight fits, then name it."), Message("user", order))


@data
def add(chat: Messages, reply: Text, result: Text) -> Messages:
    return (*chat, Message("assistant", reply), Message("tool", result))


@choice
def books(order: Text) -> bool:
    return order.startswith("BOOK")


@choice
def searches(reply: Text) -> bool:
    return reply.startswith("SEARCH")


@agent
def travel(request: Text) -> Text:
    chat = open_chat(request)
    while repeat(books(order := supervisor(chat)), probability=0.5, at_most=4):
        inner = assign(order)
        while repeat(searches(flight := flights(inner)), probability=0.6, at_most=5):
            inner = add(inner, flight, search_flights(flight))
        chat = add.named("report")(chat, order, flight)
    return order
