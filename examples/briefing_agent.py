"""Reads a message out loud, in short: text → summary, spoken sentence by sentence while it is written."""

from weft.agent import Audio, Message, Messages, Text, agent, data, llm, synthesize

summarise = llm(model=("llama-3-8b", "qwen2.5-7b"), isl=1200, osl=80, max_tokens=160, chunk_tokens=20)
speak = synthesize(voice="en-us", core_s=0.12)


@data
def ask(message: Text) -> Messages:
    return (Message("system", "Say it in three sentences."), Message("user", message))


@agent
def briefing(message: Text) -> Audio:
    return speak(summarise(ask(message)))
