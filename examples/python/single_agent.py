"""A single agent with a tool: the model looks things up until it can answer."""

from weft.agent import Message, Messages, Text, agent, choice, data, llm, repeat, search, tool_call

RULES = 'Answer in one sentence. To look something up, reply only with {"tool": "search", "query": "…"}.'

think = llm(model="llama-3.1-8b", isl=600, osl=80, max_tokens=200)
look_up = search(corpus="hardware", core_s=0.002)


@data
def ask(question: Text) -> Messages:
    return (Message("system", RULES), Message("user", question))


@choice
def wants_search(reply: Text) -> bool:
    return tool_call(reply) is not None


@data
def query(reply: Text) -> Text:
    call = tool_call(reply)
    return call.query if call else reply


@data
def read(chat: Messages, reply: Text, passage: Text) -> Messages:
    return (*chat, Message("assistant", reply), Message("tool", passage))


@agent
def assistant(question: Text) -> Text:
    chat = ask(question)
    while repeat(wants_search(reply := think(chat)), probability=0.6, at_most=5):
        chat = read(chat, reply, look_up(query(reply)))
    return reply
