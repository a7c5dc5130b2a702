"""The shipped models: their format, that nothing held out leaked into training data, and that they really answer."""

import json
import random
import shutil

import pytest
from tools.train_tiny import voices
from tools.train_tiny.catalogue import HELD_OUT, entities
from tools.train_tiny.corpus import passages
from tools.train_tiny.dialogues import NO_NOISE, dialogue
from tools.train_tiny.evaluate import ChatModel, answer, evaluate, load_questions
from tools.train_tiny.names import spoken, spoken_number
from tools.train_tiny.questions import question, random_entity
from tools.train_tiny.speech import ASSETS
from tools.train_tiny.tokenizer import render
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.effort import cases
from weft.agent import tool_call
from weft.runtime.steps.audio import read_wav
from weft.runtime.steps.search import Bm25Retriever, load_corpus
from weft.runtime.steps.transcribe import load_transcriber

LLAMA = ASSETS / "tiny-llama"
REAL = [e for e in entities() if e.name not in HELD_OUT]


def test_the_language_model_is_a_small_hugging_face_llama() -> None:
    model = AutoModelForCausalLM.from_pretrained(LLAMA, local_files_only=True)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert sum(p.numel() for p in model.parameters()) <= 10_000_000
    assert (LLAMA / "model.safetensors").stat().st_size <= 20_000_000
    assert model.config.max_position_embeddings >= 512
    assert model.generation_config.eos_token_id == AutoTokenizer.from_pretrained(LLAMA).eos_token_id


def test_the_chat_template_writes_what_the_model_was_trained_on() -> None:
    tokenizer = AutoTokenizer.from_pretrained(LLAMA, local_files_only=True)
    rng = random.Random(5)
    for _ in range(50):
        talk = dialogue(rng, REAL, NO_NOISE, hard=True)
        assert tokenizer.apply_chat_template(talk, tokenize=False) == render(talk)
        instructed = [{"role": "system", "content": "be brief"}, *talk]
        assert tokenizer.apply_chat_template(instructed, tokenize=False) == render(talk), "it takes no instructions"
        asked = tokenizer.apply_chat_template(talk[:1], tokenize=False, add_generation_prompt=True)
        assert render(talk).startswith(asked)


def test_training_dialogues_call_tools_as_the_parser_reads_them() -> None:
    rng = random.Random(6)
    for _ in range(200):
        talk = dialogue(rng, REAL, NO_NOISE, hard=True)
        calls = [tool_call(m["content"]) for m in talk if m["role"] == "assistant"]
        assert all(calls[:-1])
        assert calls[-1] is None
        assert len(calls) <= 4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("H200 SXM", "h two hundred s x m"),
        ("A100 PCIe 80GB", "a one hundred p c i e eighty g b"),
        ("Xeon 6980P", "xeon sixty nine eighty p"),
        ("Llama 3.1 405B", "llama three point one four oh five b"),
        ("Mixtral 8x22B", "mixtral eight by twenty two b"),
        ("GPT OSS 20B", "g p t o s s twenty b"),
    ],
)
def test_names_are_said_as_people_say_them(name: str, said: str) -> None:
    assert spoken(name) == said


def test_different_numbers_sound_different() -> None:
    said = [spoken_number(str(n)) for n in range(1, 1000)]
    assert len(set(said)) == len(said)


def test_nothing_held_out_is_trained_on() -> None:
    questions = load_questions()
    assert len(questions) == 60
    assert {q.entity for q in questions} <= set(HELD_OUT)
    variants = {q.voice.split("+")[1] for q in questions}
    assert variants.isdisjoint({*voices.TRAINING_VARIANTS, *voices.MINING_VARIANTS})
    rng = random.Random(7)
    assert {random_entity(rng, REAL)[0].name for _ in range(2000)}.isdisjoint(HELD_OUT)
    templates = {question(random_entity(rng, REAL)[0], rng).template for _ in range(2000)}
    assert templates.isdisjoint(q.template for q in questions)
    trained = {dialogue(rng, REAL, NO_NOISE, hard=True)[0]["content"] for _ in range(2000)}
    assert trained.isdisjoint(q.question for q in questions)


def test_the_shipped_corpus_is_what_the_catalogue_says() -> None:
    made = [p for e in entities() for p in passages(e)]
    assert list(load_corpus(ASSETS / "corpus.jsonl")) == made
    assert len(made) >= 300
    assert len({p.id for p in made}) == len(made)


def test_held_out_answers_hold_what_is_expected_of_them() -> None:
    titles = " ".join(p.title for p in load_corpus(ASSETS / "corpus.jsonl"))
    for asked in load_questions():
        assert all(part in asked.answer for part in asked.expected)
        assert asked.expected[0] in titles


def test_the_demo_recordings_are_heard_and_answered() -> None:
    demos = json.loads((ASSETS / "questions" / "index.json").read_text())
    transcriber = load_transcriber(ASSETS / "tiny-stt")
    model, retriever = ChatModel(LLAMA), Bm25Retriever(load_corpus(ASSETS / "corpus.jsonl"))
    assert len(demos) == 5
    for demo in demos:
        heard = transcriber.transcribe(read_wav(ASSETS / "questions" / demo["file"]))
        assert answer(heard, model, retriever).answer == demo["answer"]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_the_voice_agent_answers_held_out_questions() -> None:
    questions = load_questions()
    report = evaluate(questions[:: len(questions) // cases(len(questions))])
    assert report.word_error_rate <= 0.05
    assert report.right_share >= 0.90
