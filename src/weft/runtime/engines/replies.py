"""What becomes of the tokens that the torch engine has drawn: who is told, and when a reply ends."""

import logging

from weft.policy.sequence import Stage
from weft.runtime.engines.caches import Caches
from weft.runtime.engines.offers import Offers
from weft.runtime.engines.requests import Emitted, Event, Finish, Listener
from weft.runtime.engines.sampling import Drawn
from weft.runtime.engines.sequences import Sequences
from weft.runtime.engines.track import Track

_log = logging.getLogger(__name__)


class Replies:
    def __init__(self, sequences: Sequences, caches: Caches, offers: Offers) -> None:
        self._sequences = sequences
        self._caches = caches
        self._offers = offers

    def emit(self, track: Track, drawn: Drawn) -> None:
        """Its next token, or why there is none."""
        request, served = track.request, track.active
        assert request is not None and served is not None and track.listener is not None
        if not isinstance(drawn, Emitted):
            self.fail(track, drawn)
            return
        self._note(track, drawn.token)
        terms = request.terms
        stopped = drawn.token in terms.stop_tokens
        try:
            if terms.constraint is not None and not stopped:
                terms.constraint.advance(drawn.token)
                stopped = terms.constraint.finished
        except Exception as error:  # the constraint's, so its own reply's alone
            self.fail(track, error)
            return
        if drawn.token not in terms.stop_tokens and not told(track.listener, drawn):
            stopped = True  # nobody listens any more
        if stopped:
            self._sequences.stop(track)
        if stopped or served.stage in (Stage.KEPT, Stage.ENDED):
            self.finish(track, Finish.STOP if stopped else Finish.LENGTH)

    def fail(self, track: Track, error: Exception) -> None:
        served = track.active
        assert served is not None
        if served.stage is Stage.KEPT:
            self._sequences.batcher.release(served)
        self.end(track, error)

    def end(self, track: Track, how: Finish | Exception) -> None:
        """At once, whatever was to come."""
        self._sequences.stop(track)
        self.finish(track, how)

    def finish(self, track: Track, how: Finish | Exception) -> None:
        """It has ended in the batch; its cache stays if that was asked."""
        served, listener = track.active, track.listener
        assert served is not None and listener is not None
        del self._sequences.active[served]
        self._caches.leave(track)
        track.active = track.listener = track.request = None
        if served.stage is Stage.KEPT:
            self._caches.rest(track, served)
            self._offers.offer(track, served)
        else:
            self._caches.growths.end(track.id)
            if not served.keep:
                del self._sequences.tracks[track.id]
        told(listener, how)

    def _note(self, track: Track, token: int) -> None:
        served = track.active
        assert served is not None
        track.tokens.append(token)
        if track.foreign:  # its cache gave a token: it is sound
            track.foreign = False
            served.hashes = track.hash_known(track.stored, self._sequences.pool.block_size)
        if track.history is not None:
            track.history.add(token)


def told(listener: Listener, event: Event) -> bool:
    """A listener that raises is the end of its own reply only."""
    try:
        listener(event)
    except Exception:
        _log.exception("a listener failed")
        return False
    return True
