"""Generated code against transformers: logits, greedy tokens, embeddings; and KV that moves between devices."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.compiler.codegen.built import Builds, Built, make_model
from tests.runtime.replies import reply_of
from weft.core.errors import CapacityError, RequestError, RunError, WireError
from weft.runtime.engines.compiled import open_program
from weft.runtime.engines.compiled_encoder import CompiledEncoder
from weft.runtime.engines.compiled_engine import CompiledEngine
from weft.runtime.engines.torch_engine import TorchEngine

PROMPTS = [[3, 17, 250, 9, 44, 120, 8, 8, 61], [7], list(range(20, 60)), [299, 0, 5, 1]]
STEPS = 64
COMPILE_S = 1200
FAMILIES = ("llama", "qwen3", "mixtral")
CPU = "local-sync"  # one thread: tiny models only wait for more

pytestmark = pytest.mark.timeout(COMPILE_S)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    return Builds(tmp_path_factory.mktemp("built"))


def engine_of(built: Built, target: str = "x86-64", driver: str = CPU, tokens: int = 4096) -> CompiledEngine:
    program = open_program(built.artifact, built.modules[target], driver=driver)
    return CompiledEngine(built.artifact, program, tokens=tokens)


def encoder_of(built: Built) -> CompiledEncoder:
    return CompiledEncoder(built.artifact, open_program(built.artifact, built.modules["x86-64"], driver=CPU))


def greedy(model: Any, prompt: list[int]) -> list[int]:
    mask = torch.ones(1, len(prompt))
    output = model.generate(torch.tensor([prompt]), attention_mask=mask, max_new_tokens=STEPS, do_sample=False)
    return output[0, len(prompt) :].tolist()


def test_greedy_tokens_are_those_of_transformers(built: Builds) -> None:
    """One small model, whole, in every test run; the rest below takes minutes of compiling."""
    model, engine = make_model("llama"), engine_of(built["every target"])
    for prompt in PROMPTS:
        assert reply_of(engine, prompt, STEPS) == greedy(model, prompt)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_transformers_one_by_one_and_four_at_once(built: Builds, family: str) -> None:
    model, engine = make_model(family), engine_of(built[family])
    expected = [greedy(model, prompt) for prompt in PROMPTS]
    assert len(set(expected[0])) > 8, "the checkpoint must not repeat itself, or this proves little"
    assert reply_of(engine, PROMPTS[0], STEPS) == expected[0]
    together = [engine.prefill(prompt) for prompt in PROMPTS]
    rows = [[each.first_token for each in together]]
    rows += [engine.step([each.sequence for each in together]) for _ in range(STEPS - 1)]
    assert [list(column) for column in zip(*rows, strict=True)] == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers_also_of_a_prompt_in_parts(built: Builds, family: str) -> None:
    model, engine = make_model(family), engine_of(built[family])
    text = list(range(1, 150, 3))
    with torch.inference_mode():
        expected = model(torch.tensor([text])).logits[0].numpy()
    sequence, done = engine.open(), 0
    for part in (30, 1, 2, 1, len(text) - 34):  # prefill over a longer and longer context, decode between
        logits = engine.extend([sequence], [text[done : done + part]])
        done += part
        assert np.abs(logits[0] - expected[done - 1]).max() <= 1e-4


def test_several_prompts_are_prefilled_at_once(built: Builds) -> None:
    model, engine = make_model("qwen3"), engine_of(built["qwen3"])
    sequences = [engine.open() for _ in PROMPTS]
    logits = engine.extend(sequences, PROMPTS)
    for row, prompt in zip(logits, PROMPTS, strict=True):
        with torch.inference_mode():
            assert np.abs(row - model(torch.tensor([prompt])).logits[0, -1].numpy()).max() <= 1e-4


@pytest.mark.parametrize(("dtype", "bound"), [("float16", 4e-3), ("bfloat16", 4e-2)])
def test_sixteen_bits_stay_near_thirty_two(built: Builds, dtype: str, bound: float) -> None:
    """The same rounded weights in float32 arithmetic are the reference; the bound is of the largest logit."""
    model, engine = make_model("llama").to(getattr(torch, dtype)).float(), engine_of(built[dtype])
    text = PROMPTS[0]
    with torch.inference_mode():
        expected = model(torch.tensor([text])).logits[0].numpy()
    sequence = engine.open()
    got = np.stack([engine.extend([sequence], [[token]])[0] for token in text])
    assert np.abs(got - expected).max() <= bound * np.abs(expected).max()


def test_prefill_on_vulkan_decodes_on_the_cpu(built: Builds) -> None:
    try:
        first = engine_of(built["every target"], "vulkan", "vulkan", tokens=64)
    except RunError as error:
        pytest.skip(str(error))
    second, reference = engine_of(built["llama"]), TorchEngine.load(built["llama"].checkpoint)
    prefilled, expected = first.prefill(PROMPTS[0]), reference.prefill(PROMPTS[0])
    moved = second.import_kv(first.export_kv(prefilled.sequence), prefilled.first_token)
    assert prefilled.first_token == expected.first_token
    assert list(second.decode(moved, STEPS)) == list(reference.decode(expected.sequence, STEPS))


def test_embeddings_and_hidden_states_are_those_of_transformers(built: Builds) -> None:
    model, bert = make_model("bert"), built["bert"]
    encoder = encoder_of(bert)
    texts = PROMPTS[:3]
    vectors, hidden = encoder.embed(texts), encoder.encode(texts)
    for text, vector, states in zip(texts, vectors, hidden, strict=True):
        with torch.inference_mode():
            expected = model(torch.tensor([text])).last_hidden_state[0].numpy()
        assert np.abs(states - expected).max() <= 1e-4
        mean = expected.mean(axis=0)
        assert np.abs(vector - mean / np.linalg.norm(mean)).max() <= 1e-5


def test_a_decoder_embeds_by_its_pooled_hidden_states(built: Builds) -> None:
    model, qwen = make_model("qwen3"), built["qwen3"]
    vectors = CompiledEncoder(qwen.artifact, open_program(qwen.artifact, qwen.modules["x86-64"], driver=CPU)).embed(
        PROMPTS
    )
    for text, vector in zip(PROMPTS, vectors, strict=True):
        with torch.inference_mode():
            mean = model.model(torch.tensor([text])).last_hidden_state[0].mean(dim=0).numpy()
        assert np.abs(vector - mean / np.linalg.norm(mean)).max() <= 1e-5


def test_a_full_cache_refuses_and_is_whole_again_after_release(built: Builds) -> None:
    engine = engine_of(built["every target"], tokens=32)
    first = engine.prefill(list(range(20)))
    with pytest.raises(CapacityError, match="0 of 32 tokens left"):
        engine.prefill([1, 2, 3])
    engine.release(first.sequence)
    engine.release(first.sequence)
    assert (
        engine.prefill([1, 2, 3]).first_token
        == TorchEngine.load(built["every target"].checkpoint).prefill([1, 2, 3]).first_token
    )


@pytest.mark.parametrize("prompt", [[], [0] * 512, [300], [-1]])
def test_a_prompt_that_cannot_be_is_refused(built: Builds, prompt: list[int]) -> None:
    with pytest.raises((RequestError, RunError), match="prompt"):
        engine_of(built["every target"]).prefill(prompt)


def test_kv_of_another_model_is_refused(built: Builds) -> None:
    other = engine_of(built["qwen3"])
    kv = other.export_kv(other.prefill(PROMPTS[0]).sequence)
    with pytest.raises(WireError, match="same checkpoint"):
        engine_of(built["llama"]).import_kv(kv, 1)


def test_a_batch_that_was_not_compiled_is_refused(built: Builds) -> None:
    engine = engine_of(built["every target"])
    with pytest.raises(RunError, match="prefill of 2 sequences"):
        engine.extend([engine.open(), engine.open()], [[1, 2], [3, 4]])


MARKS = {
    "aarch64": b"\x7fELF\x02\x01\x01\x00" + bytes(8) + b"\x03\x00\xb7\x00",
    "cuda-sm80": b".target sm_80",
    "hip-gfx942": b"gfx942",
    "vulkan": (0x07230203).to_bytes(4, "little"),
}


@pytest.mark.parametrize("name", MARKS)
def test_a_two_layer_model_compiles_for_every_target(built: Builds, name: str) -> None:
    """Its artifact holds that device's code: an Arm ELF, PTX, an AMD code object, SPIR-V."""
    assert MARKS[name] in built["every target"].modules[name].read_bytes()
