"""A network of peers: nobody leads. The writer hands to the researcher or the critic, and either hands back."""

from weft.agent import Message, Messages, Text, agent, branch, choice, data, llm, repeat

writer = llm(model="llama-3.1-8b", isl=1200, osl=400, max_tokens=900)
researcher = llm(model="llama-3.1-8b", isl=900, osl=150, max_tokens=400)
critic = llm(model="llama-3.1-8b", isl=1600, osl=120, max_tokens=300)


@data
def open_chat(task: Text) -> Messages:
    return (Message("system", "End with NEXT: researcher, critic or nobody."), Message("user", task))


@data
def say(chat: Messages, reply: Text) -> Messages:
    return (*chat, Message("assistant", reply))


@choice
def hands_over(reply: Text) -> bool:
    return "NEXT: nobody" not in reply


@choice
def to_researcher(reply: Text) -> bool:
    return "NEXT: researcher" in reply


@agent
def newsroom(task: Text) -> Text:
    chat = open_chat(task)
    while repeat(hands_over(draft := writer(chat)), probability=0.6, at_most=6):
        if branch(to_researcher(draft), probability=0.3):
            reply = researcher(say(chat, draft))
        else:
            reply = critic(say.named("show")(chat, draft))
        chat = say.named("answer")(chat, reply)
    return draft
