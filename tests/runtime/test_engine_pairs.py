"""Any engine prefills, any decodes: the tokens are those of one engine that does both.

What moves goes through the wire format, with the block size, layout and tensor-parallel shares of somebody else. The
default run keeps a diagonal; --slow runs all pairs of all families.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.compiler.codegen.built import WANTED, Wanted, build, make_model
from tests.runtime import checkpoints
from tests.runtime.replies import reply_of, tokens_of
from weft.core.errors import RunError
from weft.runtime.engines.base import Engine
from weft.runtime.engines.compiled import open_program
from weft.runtime.engines.compiled_engine import CompiledEngine
from weft.runtime.engines.emulated import EmulatedEngine, StepPace
from weft.runtime.engines.requests import Sampling, Terms
from weft.runtime.engines.torch_engine import TorchEngine
from weft.runtime.kv.cache import KvCache
from weft.runtime.kv.convert import assemble, convert, split
from weft.runtime.kv.wire import decode, encode

PROMPT = [3, 17, 250, 9, 44, 120, 8, 8, 61]
STEPS = 64
FAMILIES = ("llama", "qwen3", "mixtral")
MADE = ("torch", "tp2", "emulated", "iree-cpu", "iree-vulkan")
COMPILE_S = 1200
WARM = Terms(Sampling(temperature=0.9, top_p=0.9, seed=11))
PENALISED = Terms(Sampling(temperature=0.8, repetition_penalty=1.3, frequency_penalty=0.2, seed=4))


@dataclass
class Engines:
    """Of one family, made when they are first asked for."""

    directory: Path
    make: Mapping[str, Callable[[], Engine]]
    made: dict[str, Engine] = field(default_factory=dict[str, Engine])

    def __getitem__(self, name: str) -> Engine:
        if name not in self.made:
            try:
                self.made[name] = self.make[name]()
            except RunError as error:
                pytest.skip(str(error))
        return self.made[name]


class Makers:
    """By family; IREE's modules are compiled only if a test wants them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._families: dict[str, Engines] = {}

    def __getitem__(self, family: str) -> Engines:
        if family not in self._families:
            self._families[family] = self._engines(family)
        return self._families[family]

    def close(self) -> None:
        for engines in self._families.values():
            for engine in engines.made.values():
                if isinstance(engine, TorchEngine):
                    engine.close()

    def _engines(self, family: str) -> Engines:
        directory = checkpoints.save(make_model(family), self._folder / family)

        def iree(target: str, driver: str) -> Engine:
            """Llama's code is there from other tests already."""
            others = Wanted(family, family, "prefill,decode", "1", ("x86-64", "vulkan"))
            wanted = next((each for each in WANTED if each.model == family and "vulkan" in each.targets), others)
            (built,) = build(self._folder / f"built-{family}-{driver}", [wanted]).values()
            program = open_program(built.artifact, built.modules[target], driver=driver)
            return CompiledEngine(built.artifact, program, tokens=512)

        return Engines(
            directory,
            {
                "torch": lambda: TorchEngine.load(directory),
                "tp2": lambda: TorchEngine.load(directory, tensor_parallel=2, cache_tokens=1024),
                "emulated": lambda: EmulatedEngine(TorchEngine.load(directory), StepPace()),
                "iree-cpu": lambda: iree("x86-64", "local-sync"),
                "iree-vulkan": lambda: iree("vulkan", "vulkan"),
            },
        )


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Generator[Makers]:
    makers = Makers(tmp_path_factory.mktemp("pairs"))
    yield makers
    makers.close()


FORMS: Mapping[str, dict[str, Any]] = {
    "as it is": {},
    "blocks of 128": {"block_size": 128},
    "blocks of 16, tokens first": {"block_size": 16, "layout": "nhd"},
}


def sent(kv: KvCache, form: str, shares: int) -> KvCache:
    """As another engine would have sent it, and back."""
    formed = convert(kv, replace(kv.shape, **FORMS[form]))
    arrived = [decode(b"".join(encode(each)), model_hash=kv.shape.model_hash) for each in split(formed, shares)]
    return assemble(arrived, replace(formed.shape, block_size=0, layout="hnd"))


def handed_on(source: Engine, target: Engine, terms: Terms, form: str = "as it is", shares: int = 1) -> list[int]:
    prefilled = source.prefill(PROMPT, terms)
    cache = sent(source.export_kv(prefilled.sequence), form, shares)
    sequence = target.import_kv(cache, prefilled.first_token, PROMPT)
    tokens = [prefilled.first_token, *tokens_of(target.decode(sequence, STEPS - 1, terms))]
    source.release(prefilled.sequence)
    target.release(sequence)
    return tokens


@pytest.mark.timeout(COMPILE_S)
@pytest.mark.parametrize("decodes", MADE)
@pytest.mark.parametrize("prefills", MADE)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefills_b_decodes(engines: Makers, family: str, prefills: str, decodes: str) -> None:
    of = engines[family]
    source, target = of[prefills], of[decodes]
    form = list(FORMS)[(MADE.index(prefills) + MADE.index(decodes)) % len(FORMS)]
    shares = 2 if "tp2" in (prefills, decodes) else 1
    for terms in (Terms(), WARM, PENALISED):
        expected = reply_of(of["torch"], PROMPT, STEPS, terms)
        assert len(set(expected)) > 8, "the checkpoint must not repeat itself, or this proves little"
        assert handed_on(source, target, terms, form, shares) == expected


@pytest.mark.parametrize(("prefills", "decodes"), [("float32", "bfloat16"), ("bfloat16", "float32")])
@pytest.mark.parametrize("family", FAMILIES)
def test_number_formats_may_differ(tmp_path: Path, family: str, prefills: str, decodes: str) -> None:
    """What one format cannot hold is lost, no more: a reply on the cache that was rounded before is the reference."""
    torch.manual_seed(2)
    directory = checkpoints.save(getattr(checkpoints, family)(num_hidden_layers=2), tmp_path)
    source, target = (TorchEngine.load(directory, precision=each) for each in (prefills, decodes))
    prefilled = source.prefill(PROMPT)
    kv = source.export_kv(prefilled.sequence)
    first = target.import_kv(kv, prefilled.first_token)
    held = target.export_kv(first)
    assert held.shape.dtype == decodes
    again = target.import_kv(
        convert(convert(kv, replace(kv.shape, dtype="bfloat16")), held.shape), prefilled.first_token
    )
    assert tokens_of(target.decode(first, STEPS)) == tokens_of(target.decode(again, STEPS))
