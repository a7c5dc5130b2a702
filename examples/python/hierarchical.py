"""Teams under a head: each team has a lead that sends its own agents to work until it is content."""

from weft.agent import Message, Messages, Text, agent, branch, choice, data, llm, repeat, search

head = llm(model="llama-3.3-70b", isl=1200, osl=60, max_tokens=200)
research_lead = llm(model="llama-3.3-70b", isl=900, osl=60, max_tokens=200)
reader = llm(model="llama-3.1-8b", isl=1500, osl=200, max_tokens=500)
writing_lead = llm(model="llama-3.3-70b", isl=900, osl=60, max_tokens=200)
writer = llm(model="llama-3.1-8b", isl=1200, osl=500, max_tokens=1200)
look_up = search(corpus="library", core_s=0.004)


@data
def open_chat(task: Text) -> Messages:
    return (Message("system", "Say TEAM research or TEAM writing, or end with the result."), Message("user", task))


@data
def assign(order: Text) -> Messages:
    return (Message("system", "Say MORE and what is missing, or DONE and the result."), Message("user", order))


@data
def add(chat: Messages, order: Text, result: Text) -> Messages:
    return (*chat, Message("assistant", order), Message("tool", result))


@choice
def delegates(order: Text) -> bool:
    return order.startswith("TEAM")


@choice
def is_research(order: Text) -> bool:
    return order.startswith("TEAM research")


@choice
def wants_more(order: Text) -> bool:
    return order.startswith("MORE")


@agent
def head_office(task: Text) -> Text:
    chat = open_chat(task)
    while repeat(delegates(order := head(chat)), probability=0.7, at_most=6):
        team = assign(order)
        if branch(is_research(order), probability=0.6):
            while repeat(wants_more(result := research_lead(team)), probability=0.6, at_most=4):
                page = look_up(result)
                team = add.named("read")(team, result, reader(assign.named("give")(page)))
        else:
            while repeat(wants_more.named("wants_text")(result := writing_lead(team)), probability=0.5, at_most=3):
                team = add.named("write")(team, result, writer(team))
        chat = add(chat, order, result)
    return order
