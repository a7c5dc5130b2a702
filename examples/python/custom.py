"""A graph of its own shape: tickets are looked up, graded, asked again in other words, drafted and checked."""

from weft.agent import Message, Messages, Text, agent, choice, data, llm, repeat, search

retrieve = search(corpus="tickets", core_s=0.003)
grade = llm(model="llama-3.1-8b", isl=1500, osl=5, max_tokens=10)
rewrite = llm(model="llama-3.1-8b", isl=200, osl=40, max_tokens=100)
write = llm(model="llama-3.3-70b", isl=1800, osl=250, max_tokens=600)
check = llm(model="llama-3.1-8b", isl=600, osl=60, max_tokens=150)


@data
def redact(ticket: Text) -> Text:
    """Personal data never reaches a model."""
    return " ".join(word for word in ticket.split() if "@" not in word)


@data
def to_grade(question: Text, passage: Text) -> Messages:
    return (Message("system", "Does the passage answer the question? yes or no"), Message("user", question + passage))


@data
def to_rewrite(question: Text) -> Messages:
    return (Message("system", "Ask in other words."), Message("user", question))


@data
def to_write(question: Text, passage: Text) -> Messages:
    return (Message("system", f"Answer from this: {passage}"), Message("user", question))


@data
def to_check(draft: Text) -> Messages:
    return (Message("system", "Say FINE, or what to mend."), Message("user", draft))


@data
def remark(chat: Messages, draft: Text, verdict: Text) -> Messages:
    return (*chat, Message("assistant", draft), Message("user", verdict))


@choice
def is_poor(verdict: Text) -> bool:
    return verdict.startswith("no")


@choice
def is_rejected(verdict: Text) -> bool:
    return not verdict.startswith("FINE")


@agent
def support(ticket: Text) -> Text:
    question = redact(ticket)
    passage = retrieve(question)
    while repeat(is_poor(grade(to_grade(question, passage))), probability=0.3, at_most=2):
        question = rewrite(to_rewrite(question))
        passage = retrieve.named("retrieve_again")(question)
    chat = to_write(question, passage)
    draft = write(chat)
    while repeat(is_rejected(verdict := check(to_check(draft))), probability=0.2, at_most=3):
        chat = remark(chat, draft, verdict)
        draft = write.named("write_again")(chat)
    return draft
