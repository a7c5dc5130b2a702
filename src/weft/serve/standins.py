"""When a node dies: which of the others can do its model's steps, and how a cache that went with it is made again."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from weft.core.errors import NodeDiedError, RunError
from weft.core.program import Step, StepKind
from weft.policy.agent_run import Ready
from weft.runtime.client import CallResult, NodeClient
from weft.runtime.services import LLM_KINDS
from weft.runtime.values import KvHandle

ATTEMPTS = 4  # of one transfer: the first, a new taker, a new source, and a source whose death nobody had noticed yet

Call = Callable[[NodeClient, Ready], Awaitable[CallResult]]


class StandIns:
    """`routed` is the plan's node of each step; any of `clients` may stand in."""

    def __init__(self, routed: Mapping[str, NodeClient], clients: Iterable[NodeClient]) -> None:
        self._routed = routed
        self.clients = tuple(clients)
        self._made: dict[KvHandle, Ready] = {}

    @property
    def watched(self) -> list[NodeClient]:
        """Nodes that the plan uses and that are not known to be dead."""
        return [client for client in set(self._routed.values()) if not client.died.done()]

    def check(self) -> None:
        """The error of a node that died and whose steps nobody else can do."""
        for client in set(self._routed.values()):
            if client.died.done() and self._stand_in(client) is None:
                raise client.died.result()

    def client(self, step: Step, inputs: tuple[object, ...] = ()) -> NodeClient:
        """A decode runs where its cache is; all else where the plan says, or on a stand-in if that node has died."""
        routed = self._routed[step.name]
        for handle in inputs if step.kind is StepKind.DECODE else ():
            for client in self.clients:
                if isinstance(handle, KvHandle) and client.address == handle.address and not client.died.done():
                    return client
        if not routed.died.done():
            return routed
        stand_in = self._stand_in(routed)
        if stand_in is None:
            raise routed.died.result()
        return stand_in

    def made(self, ready: Ready, result: CallResult) -> None:
        """Remembers which prefill each cache came from."""
        if ready.step.kind is StepKind.PREFILL:
            self._made |= {value: ready for value in result.outputs if isinstance(value, KvHandle)}

    async def call(self, ready: Ready, call: Call) -> tuple[NodeClient, CallResult]:
        """Runs a step; a prefill or a transfer whose node dies runs again elsewhere, and so does the prefill of a cache
        that cannot be fetched any more. Tokens that were told already are the caller's to leave out."""
        attempts = ATTEMPTS if ready.step.kind in (StepKind.PREFILL, StepKind.KV_TRANSFER) else 1
        for attempt in range(1, attempts + 1):
            client = self.client(ready.step, ready.inputs)
            try:
                result = await call(client, ready)
                self.made(ready, result)
                return client, result
            except RunError as error:
                if attempt == attempts or not await self._mend(ready, error, client, call):
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _mend(self, ready: Ready, error: RunError, client: NodeClient, call: Call) -> bool:
        """Whether another attempt makes sense. Prefills a cache again that its taker could not get."""
        if isinstance(error, NodeDiedError) and client.died.done():
            return self._stand_in(client) is not None
        handle = next((value for value in ready.inputs if isinstance(value, KvHandle)), None)
        made = None if handle is None else self._made.get(handle)
        if ready.step.kind is not StepKind.KV_TRANSFER or handle is None or made is None:
            return False
        _, again = await self.call(made, call)
        remade = next(value for value in again.outputs if isinstance(value, KvHandle))
        # the first token was told already: a sampler that drew another one must not contradict it
        remade = KvHandle(remade.address, remade.sequence, handle.first_token, remade.tokens)
        self._made[remade] = made
        ready.inputs = tuple(remade if value is handle else value for value in ready.inputs)
        return True

    def _stand_in(self, dead: NodeClient) -> NodeClient | None:
        """A live node with the same model that serves the same kinds of step. Only the steps of language models: a
        node's functions and files are not seen from here."""
        kinds = set(dead.info.kinds)
        if not kinds <= set(LLM_KINDS):
            return None
        return next((client for client in self.clients if _is_like(client, dead, kinds)), None)


def _is_like(client: NodeClient, dead: NodeClient, kinds: set[StepKind]) -> bool:
    return (
        not client.died.done()
        and kinds <= set(client.info.kinds)
        and client.info.model_hash == dead.info.model_hash
        and client.info.emulated == dead.info.emulated
    )
