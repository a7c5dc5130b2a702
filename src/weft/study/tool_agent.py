"""The agent of study `retention`: one call of a model, again and again, with tools outside the fleet in between."""

from weft.agent import Message, Messages, Text, agent, data, llm

think = llm(model="qwen2.5-14b", isl=4096, osl=128, max_tokens=1024)


@data
def gather(task: Text) -> Messages:
    return (Message("user", task),)


@agent
def solve(task: Text) -> Text:
    return think(gather(task))
