"""Nothing personal reaches the model: e-mail addresses, telephone and card numbers are taken out on a CPU first."""

from weft.agent import Messages, Text, agent, llm, redact

clean = redact("email", "phone", "credit_card", of=Messages)
reply = llm(model="llama-3.1-8b", isl=600, osl=150, max_tokens=256)


@agent
def private_chat(conversation: Messages) -> Text:
    return reply(clean(conversation))
