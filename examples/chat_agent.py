"""A model by itself: the whole conversation in, the next reply out. `weft serve` makes it an OpenAI model."""

from weft.agent import Messages, Text, agent, llm

reply = llm(model="llama-3.1-8b", isl=600, osl=150, max_tokens=256)


@agent
def chat(conversation: Messages) -> Text:
    return reply(conversation)
