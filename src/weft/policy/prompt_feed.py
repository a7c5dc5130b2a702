"""What nodes say they hold, in the names that a router has for prompts.

A router knows prompts by hashes of their text, nodes know them by hashes of token blocks (`prefix_feed`): a router has
no tokenizer. So it learns, once a prompt, which blocks a node made of it: text `j` of M stands for block ⌈j · N / M⌉ of
N, so the text is claimed only where all of its tokens are held. What was sent to a node is assumed to be there
(`AssumedCache`) until the node says that it is gone; what came to it by another way is believed when it says so.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from weft.policy.prefix_feed import Announcement, SharedPrefixes
from weft.policy.prefix_index import AssumedCache

MOST_BLOCKS = 262_144
"""Blocks whose texts are known, the last used ones: as many as 4 million tokens have."""


MOST_MEANINGS = 4
"""Blocks that one text may stand for: where prompts part, each makes another block of the text around that place."""


class PromptNames:
    def __init__(self, most: int = MOST_BLOCKS) -> None:
        self._most = most
        self._texts: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._blocks: dict[int, tuple[int, ...]] = {}

    def knows(self, texts: Sequence[int]) -> bool:
        """A prompt whose end is known is known from its beginning."""
        return not texts or texts[-1] in self._blocks

    def texts(self, blocks: Iterable[int]) -> list[int]:
        """Each once, though several of the blocks may stand for it."""
        return list(dict.fromkeys(text for block in blocks for text in self._texts.get(block, ())))

    def blocks(self, text: int) -> tuple[int, ...]:
        """Any of them makes the text true."""
        return self._blocks.get(text, ())

    def learn(self, texts: Sequence[int], blocks: Sequence[int]) -> list[int]:
        """The blocks of this prompt that stand for its texts."""
        found: dict[int, None] = {}
        for at, text in enumerate(texts if blocks else (), 1):
            block, known = blocks[-(-at * len(blocks) // len(texts)) - 1], self._blocks.get(text, ())
            if block not in known and len(known) < MOST_MEANINGS:
                self._blocks[text] = (*known, block)
                self._texts[block] = (*self._texts.get(block, ()), text)
                found[block] = None
        for block in found:
            self._texts.move_to_end(block)
        while len(self._texts) > self._most:
            self._forget(*self._texts.popitem(last=False))
        return list(found)

    def _forget(self, block: int, texts: tuple[int, ...]) -> None:
        for text in texts:
            left = tuple(each for each in self._blocks[text] if each != block)
            if left:
                self._blocks[text] = left
            else:
                del self._blocks[text]


class PromptFeed:
    """`join` and `leave` nodes, `receive` what they say, `learn` what they made of a prompt."""

    def __init__(self, names: PromptNames | None = None) -> None:
        self.names = names or PromptNames()
        self._shared = SharedPrefixes(self._changed)
        self._caches: dict[str, AssumedCache] = {}

    def join(self, node: str, cache: AssumedCache) -> None:
        self._caches[node] = cache

    def leave(self, node: str, cache: AssumedCache) -> None:
        if self._caches.get(node) is cache:
            self._shared.leave(node)
            del self._caches[node]

    def receive(self, announcement: Announcement) -> bool:
        """Whether the node should be asked for a snapshot."""
        return self._shared.receive(announcement)

    def learn(self, texts: Sequence[int], blocks: Sequence[int]) -> None:
        fresh = self.names.learn(texts, blocks)
        for node, cache in self._caches.items():
            cache.touch(self.names.texts([block for block in fresh if self._shared.holds(node, block)]))

    def _changed(self, node: str, came: Sequence[int], went: Sequence[int]) -> None:
        cache = self._caches.get(node)
        if cache is not None:
            cache.drop([text for text in self.names.texts(went) if not self._holds(node, text)])
            cache.touch(self.names.texts(came))

    def _holds(self, node: str, text: int) -> bool:
        return any(self._shared.holds(node, block) for block in self.names.blocks(text))
