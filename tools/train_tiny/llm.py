"""Train the tiny language model that answers by searching: `python -m tools.train_tiny.llm`.

A Llama of about 2 M parameters; writes src/weft/assets/tiny-llama in the Hugging Face layout, also while training, so
that it can be stopped when it is good. The first steps see short conversations only (curriculum).
"""
# pyright: standard

import argparse
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from tools.train_tiny.catalogue import HELD_OUT, entities
from tools.train_tiny.dialogues import Message, Noise, dialogue
from tools.train_tiny.speech import ASSETS
from tools.train_tiny.tokenizer import ROLES, render, train_tokenizer
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONFUSIONS = Path(__file__).parent / "confusions.json"
CONTEXT_WEIGHT = 0.1  # of user and tool tokens in the loss: repeated names there teach copying, random values are noise


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids and their weights in the loss."""

    ids: list[int]
    weights: list[float]


def conversations(count: int, seed: int, noise: Noise, *, hard: bool) -> list[list[Message]]:
    rng = random.Random(seed)
    real = [e for e in entities() if e.name not in HELD_OUT]
    return [dialogue(rng, real, noise, hard=hard) for _ in range(count)]


def encode(tokenizer: PreTrainedTokenizerFast, talks: list[list[Message]]) -> list[Example]:
    """Tokens of whole conversations; the model's own words weigh 1."""
    role_of = {tokenizer.convert_tokens_to_ids(token): role for role, token in ROLES.items()}
    encoded = []
    for ids in tokenizer([render(t) for t in talks], add_special_tokens=False)["input_ids"]:
        weights, role = [], ""
        for token in ids:
            # A role token opens a turn: it is given, never generated.
            weights.append(1.0 if role == "assistant" and token not in role_of else CONTEXT_WEIGHT)
            role = role_of.get(token, role)
        encoded.append(Example(ids, weights))
    return encoded


def batches(examples: list[Example], tokens: int, rng: random.Random) -> list[list[Example]]:
    """Conversations of similar length together, about `tokens` tokens each, in random order."""
    grouped: list[list[Example]] = [[]]
    for example in sorted(examples, key=lambda e: len(e.ids) + rng.random() * 8):
        if grouped[-1] and (len(grouped[-1]) + 1) * len(example.ids) > tokens:
            grouped.append([])
        grouped[-1].append(example)
    rng.shuffle(grouped)
    return grouped


def loss_of(model: LlamaForCausalLM, batch: list[Example]) -> torch.Tensor:
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([torch.tensor(e.ids) for e in batch], batch_first=True)
    weights = pad([torch.tensor(e.weights) for e in batch], batch_first=True)[:, 1:].flatten()
    # Padding stands on the right and weighs nothing: the causal mask alone keeps it out.
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none")
    return (losses * weights).sum() / weights.sum()


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    end: Any = tokenizer.eos_token_id
    pad: Any = tokenizer.pad_token_id
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=False, max_new_tokens=64)
    return model


@torch.inference_mode()
def exact_share(model: LlamaForCausalLM, examples: list[Example]) -> tuple[float, float]:
    """Share of right tokens and of wholly right conversations, each token given the true ones before it."""
    tokens = right_tokens = right_talks = 0
    for example in examples:
        guess = model(input_ids=torch.tensor([example.ids]), use_cache=False).logits[0, :-1].argmax(-1).tolist()
        hits = [g == t for g, t, w in zip(guess, example.ids[1:], example.weights[1:], strict=True) if w == 1.0]
        tokens, right_tokens, right_talks = tokens + len(hits), right_tokens + sum(hits), right_talks + all(hits)
    return right_tokens / tokens, right_talks / len(examples)


def rate(step: int, steps: int, peak: float) -> float:
    """Short warm-up, cosine decay to a twentieth."""
    if step < 100:
        return peak * (step + 1) / 100
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - 100) / (steps - 100))))


def train(
    model: LlamaForCausalLM, stages: list[list[list[Example]]], check: list[Example], out: Path, peak: float
) -> None:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    kept = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": kept, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
    todo = [batch for stage in stages for batch in stage]
    started, total = time.monotonic(), 0.0
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(todo)} steps", flush=True)
    for step, batch in enumerate(todo):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, len(todo), peak)
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
        if (step + 1) % 100 == 0:
            tokens, talks = exact_share(model, check)
            minutes = (time.monotonic() - started) / 60
            shares = f"tokens right {tokens:.3f}, conversations right {talks:.3f}"
            print(f"step {step + 1}: loss {total / 100:.3f}, {shares}, {minutes:.1f} min", flush=True)
            total = 0.0
            model.save_pretrained(out)
    model.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--easy", type=int, default=20_000, help="short conversations, first")
    parser.add_argument("--hard", type=int, default=80_000, help="conversations of all kinds, then")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--peak-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--go-on", action="store_true", help="start from the model and tokenizer in --out")
    parser.add_argument("--out", type=Path, default=ASSETS / "tiny-llama")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    noise = msgspec.json.decode(CONFUSIONS.read_bytes(), type=Noise)
    talks = [
        conversations(options.easy, options.seed, noise, hard=False),
        conversations(options.hard, options.seed + 1, noise, hard=True),
    ]
    if options.go_on:
        tokenizer = AutoTokenizer.from_pretrained(options.out)
        model = LlamaForCausalLM.from_pretrained(options.out, dtype=torch.float32)
    else:
        tokenizer = train_tokenizer(render(t) for stage in talks for t in stage[:15_000])
        tokenizer.save_pretrained(options.out, save_jinja_files=False)
        model = new_model(tokenizer)
    stages = [batches(encode(tokenizer, stage), options.batch_tokens, rng) for stage in talks if stage]
    check = encode(tokenizer, conversations(150, options.seed + 2, noise, hard=True))
    train(model, stages, check, options.out, options.peak_rate)


if __name__ == "__main__":
    main()
