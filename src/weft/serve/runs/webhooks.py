"""Tells other servers when a run has ended or waits for a person: signed as standardwebhooks.com says, tried again
until they take it. What is due lies in the log, so no crash loses it; who is told twice sees the same `webhook-id`."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from weft.core.errors import CacheError, InputError
from weft.serve.runs.log import Call, RunLog
from weft.serve.runs.run import LogEvent, Run

FIRST_RETRY_S, LONGEST_RETRY_S, TRIES = 1.0, 3600.0, 20  # about half a day in all
TIMEOUT_S = 10.0
LOOK_S = 1.0
LEAST_SECRET_BYTES = 24
PREFIX = "whsec_"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Webhooks:
    """`hosts`: who may be called, and nobody else: an address that a caller gives must not reach into our network."""

    secret: bytes
    hosts: frozenset[str]
    first_retry_s: float = FIRST_RETRY_S
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[None] | None" = None

    def check(self, url: str) -> None:
        """Raises InputError where `url` may not be called."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname not in self.hosts:
            known = ", ".join(sorted(self.hosts)) or "none"
            problem = f"is not on one of the hosts that may be called: {known}"
            raise InputError(subject="webhook", problem=problem, way_out="start the server with --webhook-host HOST")

    def call_of(self, run: Run) -> Callable[[LogEvent], Call | None]:
        """The message that an event of the run makes due."""

        def call(event: LogEvent) -> Call | None:
            if not run.webhook:
                return None
            data = {"id": run.id, "agent": run.agent, "metadata": run.metadata}
            body = {"type": event.kind, "created_at": int(event.at_s), "object": "event", "data": data}
            id = f"evt_{run.id}_{event.number}"
            return Call(id, run.webhook, msgspec.json.encode({"id": id, **body}).decode(), 0, event.at_s)

        return call

    def start(self, log: RunLog) -> None:
        self._task = asyncio.create_task(self._work(log))

    def wake(self) -> None:
        self._woken.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self, log: RunLog) -> None:
        """One that is due later than the longest wait is due now: the clock has jumped back."""
        while True:
            try:
                calls, now_s = await asyncio.to_thread(log.calls), log.clock()
                due = [call for call in calls if not now_s < call.due_s <= now_s + LONGEST_RETRY_S]
                await asyncio.gather(*(self._deliver(log, call) for call in due))
            except CacheError as error:
                _log.error("webhooks wait: %s", error)
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), LOOK_S)

    async def _deliver(self, log: RunLog, call: Call) -> None:
        problem = await asyncio.to_thread(self._post, call, int(log.clock()))
        if problem and call.tries + 1 < TRIES:
            wait_s = min(self.first_retry_s * 2**call.tries, LONGEST_RETRY_S)
            await asyncio.to_thread(log.put_off, call, log.clock() + wait_s)
            return
        if problem:
            _log.error("webhook %s was given up after %d tries: %s", call.id, TRIES, problem)
        await asyncio.to_thread(log.called, call)

    def _post(self, call: Call, now_s: int) -> str:
        """Why it was not taken; empty if it was."""
        signed = signature(self.secret, call.id, now_s, call.body)
        headers = {"webhook-id": call.id, "webhook-timestamp": str(now_s), "webhook-signature": signed}
        request = urllib.request.Request(call.url, call.body.encode(), {"content-type": "application/json", **headers})
        try:
            with _opener.open(request, timeout=TIMEOUT_S):
                return ""
        except urllib.error.HTTPError as error:
            error.close()
            return f"answered {error.code}"
        except (OSError, ValueError) as error:
            return str(error)


def signature(secret: bytes, id: str, at_s: int, body: str) -> str:
    digest = hmac.digest(secret, f"{id}.{at_s}.{body}".encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def read_secret(path: Path) -> bytes:
    """`whsec_` and base64, as OpenAI's and others' clients take it. Raises InputError."""
    try:
        text = path.read_text("ascii").strip()
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (OSError, ValueError) as error:
        raise _bad_secret(path, f"cannot be read: {error}") from error
    if len(secret) < LEAST_SECRET_BYTES:
        raise _bad_secret(path, f"holds {len(secret)} bytes, {LEAST_SECRET_BYTES} are the least")
    return secret


def _bad_secret(path: Path, problem: str) -> InputError:
    way_out = f"make one: (umask 077; printf {PREFIX}%s $(openssl rand -base64 32) > {path})"
    return InputError(subject=f"webhook secret {path}", problem=problem, way_out=way_out)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead to a host that may not be called."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
