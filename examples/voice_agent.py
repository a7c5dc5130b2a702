"""The paper's Figure 2: speech → text → LLM ⇄ search, until there is enough context → text → speech."""

from weft.agent import (
    Audio,
    Message,
    Messages,
    Text,
    agent,
    choice,
    data,
    llm,
    repeat,
    search,
    synthesize,
    tool_call,
    transcribe,
)

RULES = """Answer questions about AI hardware and models in one short sentence, from what you looked up.
To look something up, reply only with {"tool": "search", "query": "what to look for"}."""

hear = transcribe(core_s=0.06)
think = llm(model="llama-3-8b", isl=350, osl=40, max_tokens=96)
look_up = search(corpus="hardware", core_s=0.002)
speak = synthesize(voice="en-us", core_s=0.04)


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


@data
def final_words(reply: Text) -> Text:
    """When the searches are used up the model may still ask for one more: admit it."""
    return "I could not find that." if tool_call(reply) else reply


@agent
def voice(speech: Audio) -> Audio:
    chat = ask(hear(speech))
    while repeat(wants_search(reply := think(chat)), probability=0.5, at_most=3):
        chat = read(chat, reply, look_up(query(reply)))
    return speak(final_words(reply))
