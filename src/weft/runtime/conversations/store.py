"""Conversations and episodes of tenants. What a call has returned from is durable; what it refuses has changed nothing.

Each tenant has a quota; over it, appending is refused, and deleting is the way out: what an agent remembers is never
dropped for room, only when it expires.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from weft.core.errors import CacheError, CapacityError, InputError, QuotaError
from weft.core.message import Message
from weft.runtime.conversations import schema
from weft.runtime.conversations.database import Database, Run

MAX_NAME_BYTES = 200
_AT_ONCE = 200  # of what has expired, in one transaction
_ROW_BYTES = 64  # what a row takes besides its content


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """`quota_bytes` of each tenant (`quotas_bytes`: some tenants' own); `message_bytes` of one message or episode."""

    quota_bytes: int = 1 << 30
    quotas_bytes: Mapping[str, int] = field(default_factory=dict[str, int])
    message_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Conversation:
    name: str
    messages: int
    size_bytes: int
    at_s: float
    expires_s: float | None


@dataclass(frozen=True, slots=True)
class Episode:
    """Something that an agent learned or did, to be found again; `kind` is the agent's own word."""

    id: str
    kind: str
    content: str
    at_s: float
    expires_s: float | None = None


class ConversationStore:
    def __init__(
        self, database: Database, config: StoreConfig | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._config = config or StoreConfig()
        self._clock = clock
        try:
            database.transact(_set_up)
        except CacheError:  # two nodes that make the same tables at once: the later one finds them now
            database.transact(_set_up)

    def append(
        self,
        tenant: str,
        conversation: str,
        messages: Sequence[Message],
        *,
        request: str = "",
        keep_s: float | None = None,
    ) -> int:
        """Messages there are then. The same `request` again changes nothing: so it may be sent again after a failure.

        The conversation expires `keep_s` after its last append; None: never.
        """
        check_names(tenant, conversation)
        rows = [(message.role, _text(message.content)) for message in messages]
        sizes = [self._checked(len(role) + len(content), conversation) for role, content in rows]
        now_s = self._clock()

        def work(run: Run) -> int:
            used_bytes = run(schema.TENANT, (tenant,))[0][0]
            found = run(schema.CONVERSATION, (tenant, conversation))
            count = int(found[0][0]) if found else 0
            if not rows or (request and run(schema.OF_REQUEST, (tenant, conversation, request))):
                return count
            self._use(run, tenant, used_bytes, sum(sizes))
            for at, ((role, content), size) in enumerate(zip(rows, sizes, strict=True), start=count):
                run(schema.APPEND, (tenant, conversation, at, request, role, content, size, now_s))
            expires_s = None if keep_s is None else now_s + keep_s
            run(schema.TOUCH, (tenant, conversation, len(rows), sum(sizes), now_s, expires_s))
            return count + len(rows)

        return self._database.transact(work)

    def history(self, tenant: str, conversation: str, last: int | None = None) -> tuple[Message, ...]:
        """All of its messages, or the last so many; none if it does not exist."""

        def work(run: Run) -> list[tuple[str, str]]:
            found = run(schema.CONVERSATION, (tenant, conversation))
            first = 0 if last is None or not found else max(0, found[0][0] - max(0, last))
            return [(row[0], row[1]) for row in run(schema.HISTORY, (tenant, conversation, first))]

        return tuple(Message(role, json.loads(content)) for role, content in self._database.transact(work))

    def conversations(self, tenant: str) -> tuple[Conversation, ...]:
        rows = self._database.transact(lambda run: run(schema.CONVERSATIONS, (tenant,)))
        return tuple(Conversation(*row) for row in rows)

    def delete(self, tenant: str, conversation: str) -> None:
        self._database.transact(lambda run: _delete(run, tenant, conversation))

    def remember(self, tenant: str, episode: Episode) -> None:
        """An episode with the same id is replaced."""
        check_names(tenant, episode.id, episode.kind)
        content = _text(episode.content)
        size = self._checked(len(content) + len(episode.id) + len(episode.kind), episode.id)

        def work(run: Run) -> None:
            run(schema.TENANT, (tenant,))
            _delete_episode(run, tenant, episode.id)
            self._use(run, tenant, run(schema.USED, (tenant,))[0][0], size)
            row = (tenant, episode.id, episode.kind, content, size, episode.at_s, episode.expires_s)
            run(schema.REMEMBER, row)

        self._database.transact(work)

    def recall(self, tenant: str, kind: str = "", most: int = 20) -> tuple[Episode, ...]:
        """Of one kind or of all, newest first, without those that have expired."""
        asked = (tenant, kind, kind, self._clock(), max(0, most))
        return _episodes(self._database.transact(lambda run: run(schema.RECALL, asked)))

    def used_bytes(self, tenant: str) -> int:
        rows = self._database.transact(lambda run: run(schema.USED, (tenant,)))
        return int(rows[0][0]) if rows else 0

    def expire(self) -> int:
        """Deletes what has expired, a part at a time so that nobody waits long; how many conversations and episodes."""
        gone = 0
        while found := self._database.transact(lambda run: _expire(run, self._clock())):
            gone += found
        return gone

    def export(self, tenant: str) -> Iterator[str]:
        """All that is kept of a tenant, as lines of JSON."""
        for conversation in self.conversations(tenant):
            for message in self.history(tenant, conversation.name):
                row = {"conversation": conversation.name, "role": message.role, "content": message.content}
                yield json.dumps(row)
        for episode in _episodes(self._database.transact(lambda run: run(schema.EPISODES, (tenant,)))):
            row = {"episode": episode.id, "kind": episode.kind, "content": episode.content, "at_s": episode.at_s}
            yield json.dumps(row)

    def forget(self, tenant: str) -> None:
        """Deletes all that is kept of a tenant."""
        self._database.transact(lambda run: [run(statement, (tenant,)) for statement in schema.FORGET])

    def close(self) -> None:
        self._database.close()

    def _checked(self, size_bytes: int, where: str) -> int:
        if size_bytes > self._config.message_bytes:
            raise CapacityError(
                subject=f"memory {where!r}",
                problem=f"one entry of {size_bytes} bytes, the limit is {self._config.message_bytes}",
                way_out="store the large part elsewhere and remember where",
            )
        return size_bytes + _ROW_BYTES

    def _use(self, run: Run, tenant: str, used_bytes: int, more_bytes: int) -> None:
        quota_bytes = self._config.quotas_bytes.get(tenant, self._config.quota_bytes)
        if used_bytes + more_bytes > quota_bytes:
            raise QuotaError(
                subject=f"tenant {tenant!r}",
                problem=f"remembers {used_bytes} bytes and asks for {more_bytes} more, the quota is {quota_bytes}",
                way_out="delete conversations or episodes, let them expire, or raise the quota",
            )
        run(schema.USE, (more_bytes, tenant))


def _set_up(run: Run) -> None:
    for table in schema.TABLES:
        run(table, ())
    run("INSERT INTO weft_schema VALUES (?) ON CONFLICT (version) DO NOTHING", (schema.VERSION,))
    found = max(row[0] for row in run("SELECT version FROM weft_schema", ()))
    if found != schema.VERSION:
        raise CacheError(
            subject="conversations",
            problem=f"have schema version {found}, this program knows {schema.VERSION}",
            way_out="run the newer program",
        )


def _delete(run: Run, tenant: str, conversation: str) -> None:
    run(schema.TENANT, (tenant,))
    for (size_bytes,) in run(schema.CONVERSATION_BYTES, (tenant, conversation)):
        run(schema.USE, (-size_bytes, tenant))
    run(schema.DROP_MESSAGES, (tenant, conversation))
    run(schema.DROP_CONVERSATION, (tenant, conversation))


def _delete_episode(run: Run, tenant: str, id_: str) -> None:
    for (size_bytes,) in run(schema.EPISODE_BYTES, (tenant, id_)):
        run(schema.USE, (-size_bytes, tenant))
    run(schema.DROP_EPISODE, (tenant, id_))


def _expire(run: Run, now_s: float) -> int:
    conversations = run(schema.EXPIRED_CONVERSATIONS, (now_s, _AT_ONCE))
    for tenant, conversation in conversations:
        _delete(run, tenant, conversation)
    episodes = run(schema.EXPIRED_EPISODES, (now_s, _AT_ONCE))
    for tenant, id_ in episodes:
        run(schema.TENANT, (tenant,))
        _delete_episode(run, tenant, id_)
    return len(conversations) + len(episodes)


def _episodes(rows: Sequence[tuple[str, str, str, float, float | None]]) -> tuple[Episode, ...]:
    return tuple(Episode(id_, kind, json.loads(content), at_s, ends_s) for id_, kind, content, at_s, ends_s in rows)


def _text(content: str) -> str:
    return json.dumps(content)


def check_names(*names: str) -> None:
    """Raises InputError where one cannot be the name of a tenant, conversation or episode."""
    for name in names:
        if not name.isprintable() or len(name.encode(errors="replace")) > MAX_NAME_BYTES:
            raise InputError(
                subject=f"name {name[:32]!r}",
                problem=f"has unprintable characters or more than {MAX_NAME_BYTES} bytes",
                way_out="give a short printable name",
            )
