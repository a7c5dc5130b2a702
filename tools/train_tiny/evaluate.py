"""Measure the shipped models on the held-out spoken questions: `python -m tools.train_tiny.evaluate [--json]`.

One process walks the whole agent: speech to text, language model, tool call, search, language model again (three
searches at most), answer. `--no-speech` gives the language model the true words instead, which tells its mistakes
from the transcriber's.
"""
# pyright: standard

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console
from rich.table import Table
from tools.train_tiny import voices
from tools.train_tiny.dialogues import MAX_SEARCHES, Message
from tools.train_tiny.heldout import HELD_OUT_FILE, HeldOut, draw
from tools.train_tiny.speech import ASSETS, word_errors
from transformers import AutoModelForCausalLM, AutoTokenizer

from weft.agent import tool_call
from weft.core.errors import WeftError
from weft.runtime.steps.search import Bm25Retriever, Retriever, load_corpus
from weft.runtime.steps.transcribe import load_transcriber


class ChatModel:
    """Greedy replies of a local Hugging Face checkpoint."""

    def __init__(self, directory: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        self._model: Any = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True).eval()

    @torch.inference_mode()
    def reply(self, messages: list[Message]) -> str:
        prompt = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        generated = self._model.generate(**prompt, max_new_tokens=64, do_sample=False)
        return self._tokenizer.decode(generated[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)


@dataclass(frozen=True, slots=True)
class Run:
    """What the agent did with one question."""

    answer: str
    queries: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)


def answer(text: str, model: ChatModel, retriever: Retriever) -> Run:
    """The agent's loop; a malformed tool call ends it with the error as the answer."""
    messages: list[Message] = [{"role": "user", "content": text}]
    queries: list[str] = []
    titles: list[str] = []
    for _ in range(MAX_SEARCHES + 1):
        reply = model.reply(messages)
        try:
            call = tool_call(reply)
        except WeftError as error:
            return Run(str(error), queries, titles)
        if call is None:
            return Run(reply, queries, titles)
        found = retriever.search(call.query)
        passage = f"{found[0].title}: {found[0].text}" if found else "Nothing was found."
        queries, titles = [*queries, call.query], [*titles, found[0].title if found else "-"]
        messages += [{"role": "assistant", "content": reply}, {"role": "tool", "content": passage}]
    return Run("gave no answer", queries, titles)


class Outcome(msgspec.Struct):
    id: str
    question: str
    heard: str
    queries: list[str]
    titles: list[str]
    answer: str
    right: bool


class Report(msgspec.Struct):
    """The measured shares, and every question."""

    questions: int
    word_error_rate: float
    right_share: float
    one_hop_right: str
    two_hop_right: str
    outcomes: list[Outcome]


def load_questions(path: Path = HELD_OUT_FILE) -> list[HeldOut]:
    return [msgspec.json.decode(line, type=HeldOut) for line in path.read_bytes().splitlines()]


def evaluate(questions: list[HeldOut], assets: Path = ASSETS, *, speech: bool = True) -> Report:
    transcriber = load_transcriber(assets / "tiny-stt")
    model = ChatModel(assets / "tiny-llama")
    retriever = Bm25Retriever(load_corpus(assets / "corpus.jsonl"))
    outcomes, errors, words = [], 0, 0
    for asked in questions:
        heard = asked.question
        if speech:
            voice = voices.Voice(asked.voice, asked.words_per_minute, asked.pitch)
            heard = transcriber.transcribe(voices.speak(asked.question, voice))
        words, errors = words + len(asked.question.split()), errors + word_errors(asked.question, heard)
        run = answer(heard, model, retriever)
        right = all(part in run.answer for part in asked.expected)
        outcomes.append(Outcome(asked.id, asked.question, heard, run.queries, run.titles, run.answer, right))
    return Report(
        questions=len(questions),
        word_error_rate=errors / words,
        right_share=sum(o.right for o in outcomes) / len(outcomes),
        one_hop_right=_of(questions, outcomes, hops=1),
        two_hop_right=_of(questions, outcomes, hops=2),
        outcomes=outcomes,
    )


def _of(questions: list[HeldOut], outcomes: list[Outcome], *, hops: int) -> str:
    right = [o.right for q, o in zip(questions, outcomes, strict=True) if q.hops == hops]
    return f"{sum(right)} of {len(right)}"


def show(report: Report, console: Console) -> None:
    table = Table("", "heard", "searches", "answer")
    for o in report.outcomes:
        table.add_row("ok" if o.right else "WRONG", o.heard, "\n".join(o.queries), o.answer)
    console.print(table)
    console.print(
        f"{report.questions} questions: word error rate {report.word_error_rate:.1%}, right {report.right_share:.1%} "
        f"(one search {report.one_hop_right}, two searches {report.two_hop_right})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-speech", action="store_true")
    parser.add_argument("--draw", type=int, metavar="SEED", help="other questions of the same held-out kind")
    parser.add_argument("--assets", type=Path, default=ASSETS)
    options = parser.parse_args()
    questions = load_questions() if options.draw is None else draw(46, 14, options.draw)
    report = evaluate(questions, options.assets, speech=not options.no_speech)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        show(report, Console(width=160))


if __name__ == "__main__":
    main()
