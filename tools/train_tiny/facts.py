"""The domain: which facts an entity has, how an article states them, how people ask for them, how the answer sounds.

Every fact is one row of `FACTS`; articles, training dialogues, speech sentences and held-out questions are all made
from it, so the corpus that ships and the text the models were trained on cannot drift apart. In the patterns `{n}` is
the written name ("the H200 SXM", "the Phi 4 model", "the company Intel"), `{v}` the value and `{e}` the spoken name.
"""

from dataclasses import dataclass

from tools.train_tiny.names import spoken


@dataclass(frozen=True, slots=True)
class Entity:
    """A device, a language model or a maker, with its facts as text ('141', '131 thousand', 'Santa Clara')."""

    kind: str
    name: str
    facts: dict[str, str]

    @property
    def written(self) -> str:
        # Always "the": a name then never opens a sentence, so it is the same tokens wherever the model copies it.
        patterns = {"device": "the {}", "model": "the {} model", "maker": "the company {}"}
        return patterns[self.kind].format(self.name)

    @property
    def said(self) -> str:
        return f"the {spoken(self.name)}" if self.kind == "device" else spoken(self.name)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that can be asked of an entity."""

    article: str
    answer: str
    follow_up: str
    topic: str
    unit_words: str
    nouns: tuple[str, ...]
    asks: tuple[str, ...]
    held_out_asks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Article:
    """A passage: `facts` are those it states."""

    title: str
    spoken: str
    text: str
    facts: tuple[str, ...] = ()


ARTICLES = {
    "device": {
        "maker": ("maker", "device_kind"),
        "memory": ("memory", "bandwidth"),
        "compute": ("compute16", "compute8"),
        "power": ("power", "price"),
        "link": ("link", "group"),
    },
    "model": {
        "maker": ("maker", "model_kind"),
        "size": ("parameters", "layers", "width"),
        "attention": ("heads", "kv_heads"),
        "context": ("context", "vocabulary"),
    },
    "maker": {"headquarters": ("headquarters", "founded")},
}

FACTS = {
    "maker": Fact(
        "maker", "{N} is made by {v}.", "It is made by {v}.", "maker", "made by",
        ("the maker of {e}", "the vendor of {e}"),
        ("who makes {e}", "which company makes {e}", "who is the maker of {e}", "which vendor sells {e}",
         "who built {e}", "which company built {e}",
         "which company is behind {e}"),
        ("which company is the maker of {e}",),
    ),
    "device_kind": Fact(
        "maker", "{N} is {v}.", "It is {v}.", "kind", "processor", (),
        ("what kind of device is {e}", "what kind of chip is {e}", "what type of device is {e}",
         "what sort of chip is {e}", "which type of device is {e}"),
        ("which kind of chip is {e}",),
    ),
    "model_kind": Fact("maker", "{N} is {v}.", "It is {v}.", "kind", "model", (), (), ()),
    "memory": Fact(
        "memory", "{N} has {v} gigabytes of memory.", "It has {v} gigabytes of memory.", "memory", "gigabytes",
        ("the memory size of {e}", "the memory of {e}", "the memory capacity of {e}"),
        ("how much memory does {e} have", "how many gigabytes of memory are in {e}", "how big is the memory of {e}",
         "how much memory does {e} come with", "how many gigabytes of memory does {e} offer",
         "how many gigabytes can {e} hold"),
        ("how much memory is there in {e}", "how many gigabytes does {e} have"),
    ),
    "bandwidth": Fact(
        "memory", "The memory bandwidth of {n} is {v} gigabytes per second.",
        "Its memory bandwidth is {v} gigabytes per second.", "bandwidth", "gigabytes per second",
        ("the memory bandwidth of {e}", "the bandwidth of {e}"),
        ("how fast is the memory of {e}", "how much memory bandwidth does {e} have",
         "how much bandwidth does {e} have",
         "how many gigabytes per second can the memory of {e} deliver", "what memory bandwidth does {e} offer"),
        ("how big is the memory bandwidth of {e}", "how many gigabytes per second does the memory of {e} have"),
    ),
    "compute16": Fact(
        "compute", "{N} reaches {v} teraflops in 16 bit.", "In 16 bit it reaches {v} teraflops.", "compute",
        "teraflops",
        ("the sixteen bit compute of {e}", "the sixteen bit speed of {e}"),
        ("how many teraflops does {e} reach in sixteen bit", "how fast is {e} in sixteen bit",
         "how much sixteen bit compute does {e} offer", "how many sixteen bit teraflops does {e} have"),
        ("how much sixteen bit compute does {e} have",),
    ),
    "compute8": Fact(
        "compute", "{N} reaches {v} teraflops in 8 bit.", "In 8 bit it reaches {v} teraflops.", "compute", "teraflops",
        ("the eight bit compute of {e}", "the eight bit speed of {e}"),
        ("how many teraflops does {e} reach in eight bit", "how fast is {e} in eight bit",
         "how much eight bit compute does {e} offer", "how many eight bit teraflops does {e} have"),
        ("how much eight bit compute does {e} have",),
    ),
    "power": Fact(
        "power", "{N} draws {v} watts.", "It draws {v} watts.", "power", "watts",
        ("the power of {e}", "the power draw of {e}"),
        ("how many watts does {e} draw", "how much power does {e} need", "how much power does {e} draw",
         "how many watts does {e} use", "how many watts does {e} take",
         "how much power does {e} use"),
        ("how many watts does {e} need",),
    ),
    "price": Fact(
        "power", "{N} costs {v} dollars.", "It costs {v} dollars.", "price", "dollars",
        ("the price of {e}", "the cost of {e}"),
        ("how much does {e} cost", "how many dollars does {e} cost", "how expensive is {e}",
         "what does {e} cost", "how much must i pay for {e}"),
        ("how high is the price of {e}",),
    ),
    "link": Fact(
        "link", "The link of {n} carries {v} gigabytes per second.", "Its link carries {v} gigabytes per second.",
        "link", "carries",
        ("the link speed of {e}", "the link bandwidth of {e}"),
        ("how fast is the link of {e}", "how much does the link of {e} carry",
         "how many gigabytes per second does the link of {e} reach", "what link speed does {e} have"),
        ("how many gigabytes per second does the link of {e} carry",),
    ),
    "group": Fact(
        "link", "Up to {v} of {n} can be linked.", "Up to {v} of them can be linked.", "linked", "together",
        (),
        ("how many of {e} can be linked", "how many of {e} can be linked together",
         "up to how many of {e} can be linked",
         "how many of {e} can we connect", "how many of {e} work together",
         "how many of {e} can you join"),
        ("how many of {e} can i link",),
    ),
    "parameters": Fact(
        "size", "{N} has {v} billion parameters.", "It has {v} billion parameters.", "parameters", "billion",
        ("the size of {e}", "the parameter count of {e}", "the number of parameters of {e}"),
        ("how many parameters does {e} have", "how big is {e}", "how large is {e}",
         "how many parameters are in {e}", "what parameter count does {e} have"),
        ("how many billion parameters does {e} have",),
    ),
    "layers": Fact(
        "size", "{N} has {v} layers.", "It has {v} layers.", "layers", "layer",
        ("the layer count of {e}", "the number of layers of {e}"),
        ("how many layers does {e} have", "how deep is {e}",
         "how many layers are in {e}", "how many layers does {e} use"),
        ("how many layers are there in {e}",),
    ),
    "width": Fact(
        "size", "The width of {n} is {v}.", "Its width is {v}.", "width", "wide",
        ("the width of {e}", "the model width of {e}"),
        ("how wide is {e}", "how big is the width of {e}",
         "what width does {e} have"),
        ("how large is the width of {e}",),
    ),
    "heads": Fact(
        "attention", "{N} has {v} attention heads.", "It has {v} attention heads.", "heads", "attention",
        ("the number of attention heads of {e}", "the attention head count of {e}"),
        ("how many attention heads does {e} have", "how many heads does {e} have",
         "how many attention heads are in {e}", "how many attention heads does {e} use"),
        ("how many attention heads are there in {e}",),
    ),
    "kv_heads": Fact(
        "attention", "{N} has {v} key value heads.", "It has {v} key value heads.", "key value heads", "key value",
        ("the number of key value heads of {e}", "the key value head count of {e}"),
        ("how many key value heads does {e} have", "how many key value heads does {e} use",
         "how many key value heads are in {e}"),
        ("how many key value heads are there in {e}",),
    ),
    "context": Fact(
        "context", "The context of {n} is {v} tokens.", "Its context is {v} tokens.", "context", "tokens",
        ("the context length of {e}", "the context of {e}", "the context window of {e}"),
        ("how long is the context of {e}", "how many tokens does {e} take",
         "how large is the context of {e}", "how many tokens fit into {e}"),
        ("how big is the context of {e}",),
    ),
    "vocabulary": Fact(
        "context", "The vocabulary of {n} has {v} entries.", "Its vocabulary has {v} entries.", "vocabulary", "entries",
        ("the vocabulary size of {e}", "the vocabulary of {e}"),
        ("how big is the vocabulary of {e}", "how many entries does the vocabulary of {e} have",
         "how many entries are in the vocabulary of {e}", "what vocabulary does {e} have"),
        ("how large is the vocabulary of {e}",),
    ),
    "headquarters": Fact(
        "headquarters", "{N} is based in {v}.", "It is based in {v}.", "headquarters", "based in",
        ("the headquarters of {e}", "the home of {e}"),
        ("where is {e} based", "in which city is {e} based", "where is the headquarters of {e}",
         "which city is the home of {e}", "in what city is {e}"),
        ("which city is {e} based in",),
    ),
    "founded": Fact(
        "headquarters", "{N} was founded in {v}.", "It was founded in {v}.", "founded", "year",
        ("the founding year of {e}", "the year of founding of {e}"),
        ("when was {e} founded", "in which year was {e} founded",
         "in what year was {e} founded", "since what year does {e} exist"),
        ("which year was {e} founded in",),
    ),
}  # fmt: skip

# Questions that need two searches: the maker of an entity, then a fact about that maker.
TWO_HOP = {"headquarters": "the maker of {e}", "founded": "the maker of {e}"}

WRAPPERS = ("what is {q}", "tell me {q}", "give me {q}", "what about {q}", "hello what is {q}", "do you know {q}")
ASK_WRAPPERS = ("{q}", "{q}", "{q}", "{q}", "hello {q}", "so {q}", "tell me {q}")
HELD_OUT_WRAPPERS = ("i would like to know {q}", "can you tell me {q}", "please look up {q}", "i need {q}")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def state(entity: Entity, fact: str, *, first: bool = True) -> str:
    """The sentence that states a fact: with the name, or as a follow-up with a pronoun."""
    row = FACTS[fact]
    pattern = row.answer if first else row.follow_up
    written = entity.written
    return pattern.format(N=_sentence(written), n=written, v=entity.facts[fact])


def articles(entity: Entity) -> list[Article]:
    """All articles about an entity; facts that are not known are left out."""
    made: list[Article] = []
    for topic, wanted in ARTICLES[entity.kind].items():
        facts = tuple(f for f in wanted if f in entity.facts)
        if facts:
            text = " ".join(state(entity, f, first=i == 0) for i, f in enumerate(facts))
            title = _sentence(f"{topic} of {entity.written}")
            # The topics in the words of a search, then the name as it is said.
            words = dict.fromkeys(w for f in facts for w in f"{FACTS[f].topic} {FACTS[f].unit_words}".split())
            made.append(Article(title, f"{' '.join(words)} {spoken(entity.name)}", text, facts))
    return made


def article_with(entity: Entity, fact: str) -> Article:
    """The article of an entity that states a fact."""
    return next(a for a in articles(entity) if fact in a.facts)
