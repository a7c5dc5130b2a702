"""A router that knows prompts by their text believes of a node what it says of its blocks."""

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.policy.prefix_feed import Announcer
from weft.policy.prefix_index import AssumedCache, PrefixIndex, workers_held
from weft.policy.prompt_feed import PromptFeed, PromptNames

TEXTS = (tuple(range(100, 106)), (100, 101, 202, 203, 204))
BLOCKS = ((1, 2, 3, 4), (1, 12, 13, 14))
ACTIONS = st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.integers(0, 1), st.integers(0, 4)), max_size=30)


class _Node:
    """Holds blocks as a cache does: a prefix from its start, and loses it from its end."""

    def __init__(self, number: int, index: PrefixIndex, feed: PromptFeed) -> None:
        self.name, self.held = f"n{number}", [0, 0]
        self.announcer = Announcer(self.name, 1)
        self.cache = AssumedCache(index, number, 1000)
        self.cache.fed = True
        feed.join(self.name, self.cache)

    @property
    def blocks(self) -> set[int]:
        return {block for prompt, count in enumerate(self.held) for block in BLOCKS[prompt][:count]}

    def hold(self, prompt: int, count: int) -> None:
        before = self.blocks
        self.held[prompt] = count
        self.announcer.changed(sorted(self.blocks - before), sorted(before - self.blocks))


@settings(max_examples=60)
@given(ACTIONS)
def test_a_router_believes_what_nodes_say(actions: list[tuple[int, bool, int, int]]) -> None:
    index, feed = PrefixIndex(), PromptFeed()
    nodes = [_Node(number, index, feed) for number in (0, 1)]
    for node in nodes:
        feed.receive(node.announcer.snapshot())
    for which, sent, prompt, count in actions:
        node = nodes[which]
        if sent:  # by this router, which then learns the names
            node.cache.touch(TEXTS[prompt])
            node.hold(prompt, len(BLOCKS[prompt]))
            feed.learn(TEXTS[prompt], BLOCKS[prompt])
        else:  # it goes, or comes by another way
            node.hold(prompt, count)
        feed.receive(node.announcer.update())
        for prompt, texts in enumerate(TEXTS):
            believed = workers_held(index.match(texts))
            for number, each in enumerate(nodes):
                held = sum(block in each.blocks for block in BLOCKS[prompt])
                whole = held * len(texts) // len(BLOCKS[prompt])
                shared = 1  # where prompts part, one text may stand for a block of either
                assert believed.get(number, 0) <= (whole + shared if held else 0)
                if held == len(BLOCKS[prompt]) and feed.names.knows(texts):
                    assert believed[number] == len(texts)


def test_what_is_gone_is_not_believed_and_what_came_otherwise_is() -> None:
    index, feed = PrefixIndex(), PromptFeed()
    first, second = (_Node(number, index, feed) for number in (0, 1))
    feed.receive(second.announcer.snapshot())
    first.cache.touch(TEXTS[0])
    assert workers_held(index.match(TEXTS[0])) == {0: 6}  # assumed: it has just been sent there
    first.hold(0, 4)
    feed.learn(TEXTS[0], BLOCKS[0])
    feed.receive(first.announcer.snapshot())
    second.hold(0, 2)
    feed.receive(second.announcer.update())
    assert workers_held(index.match(TEXTS[0])) == {0: 6, 1: 3}
    first.hold(0, 1)
    feed.receive(first.announcer.snapshot())  # something was lost on the way
    assert workers_held(index.match(TEXTS[0])) == {0: 1, 1: 3}
    feed.leave(second.name, second.cache)
    assert workers_held(index.match(TEXTS[0])) == {0: 1}


def test_names_are_bounded() -> None:
    names = PromptNames(most=3)
    for start in range(0, 100, 2):
        names.learn((start, start + 1), (start + 1000, start + 1001))
    assert not names.knows((0, 1))
    assert names.knows((98, 99)) and names.knows(())
    assert names.texts((1099, 1001)) == [99]
    assert names.learn((5, 6), ()) == []


def test_a_text_that_several_blocks_stand_for_goes_once() -> None:
    """Where prompts part, each makes another block of the same text."""
    index, feed = PrefixIndex(), PromptFeed()
    node = _Node(0, index, feed)
    node.hold(0, len(BLOCKS[0]))
    feed.receive(node.announcer.snapshot())
    others = [block + 1000 for block in BLOCKS[0]]
    feed.learn(TEXTS[0], BLOCKS[0])
    feed.learn(TEXTS[0], others)
    assert sorted(feed.names.texts([*BLOCKS[0], *others])) == sorted(TEXTS[0])
    node.announcer.changed(others, [])
    feed.receive(node.announcer.update())
    assert workers_held(index.match(TEXTS[0])) == {0: len(TEXTS[0])}
    feed.leave(node.name, node.cache)
    assert workers_held(index.match(TEXTS[0])) == {}
