"""Generate spoken questions and train the transcriber on them: `python -m tools.train_tiny.speech`.

About 6,000 sentences in many espeak-ng voices; writes src/weft/assets/tiny-stt. Held-out voices, question templates and
entities (voices.py, facts.py, catalogue.py) are never generated here.
"""
# pyright: standard

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save_file
from tools.train_tiny import voices
from tools.train_tiny.catalogue import CATALOG, HELD_OUT, entities
from tools.train_tiny.questions import speech_sentence

from weft.runtime.steps.ctc import CtcConfig, CtcNetwork, log_mel
from weft.runtime.steps.decode import ALPHABET, greedy_text

ASSETS = Path(__file__).parents[2] / "src" / "weft" / "assets"
Utterance = tuple[torch.Tensor, str]


def training_lines(count: int, seed: int, catalog: Path) -> list[tuple[str, voices.Voice]]:
    rng = random.Random(seed)
    real = [e for e in entities(catalog) if e.name not in HELD_OUT]
    return [
        (speech_sentence(rng, real), voices.random_voice(rng, voices.ACCENTS, voices.TRAINING_VARIANTS))
        for _ in range(count)
    ]


def utterance(line: tuple[str, voices.Voice], seed: int) -> Utterance:
    """Features (frames, mels) in half precision, and the text; every other sentence is noisy."""
    rng = random.Random(seed)
    audio = voices.speak(*line)
    if rng.random() < 0.5:
        audio = voices.with_noise(audio, rng.uniform(15, 40), seed)
    return log_mel(audio, CtcConfig()).half(), line[0]


def generate(count: int, seed: int, catalog: Path) -> list[Utterance]:
    lines = training_lines(count, seed, catalog)
    torch.set_num_threads(1)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(utterance, lines, range(seed, seed + count)))
    torch.set_num_threads(2)
    return made


def word_errors(truth: str, heard: str) -> int:
    """Word-level edit distance."""
    a, b = truth.split(), heard.split()
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def batches(data: list[Utterance], size: int, rng: random.Random) -> list[list[Utterance]]:
    """Utterances of similar length together, in random order."""
    ordered = sorted(data, key=lambda u: len(u[0]) + rng.random() * 40)
    grouped = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    rng.shuffle(grouped)
    return grouped


def loss_of(network: CtcNetwork, batch: list[Utterance], rng: random.Random) -> torch.Tensor:
    """CTC loss under small feature noise and masked bands and stretches of time."""
    features = torch.nn.utils.rnn.pad_sequence([f.float() for f, _ in batch], batch_first=True)
    features = features + 0.1 * torch.randn_like(features)
    for _ in range(2):
        band, moment = rng.randrange(56), rng.randrange(max(1, features.shape[1] - 12))
        features[:, :, band : band + 8] = 0
        features[:, moment : moment + 6] = 0
    stride = CtcConfig().stride
    lengths = torch.tensor([(len(f) + stride - 1) // stride for f, _ in batch])
    targets = torch.tensor([ALPHABET.index(c) + 1 for _, text in batch for c in text])
    target_lengths = torch.tensor([len(text) for _, text in batch])
    log_probs = network(features).transpose(0, 1)
    return torch.nn.functional.ctc_loss(log_probs, targets, lengths, target_lengths, zero_infinity=True)


@torch.inference_mode()
def error_rate(network: CtcNetwork, data: list[Utterance]) -> float:
    network.eval()
    heard = [greedy_text(network(f.float()[None])[0].argmax(-1).tolist()) for f, _ in data]
    network.train()
    words = sum(len(text.split()) for _, text in data)
    return sum(word_errors(text, h) for (_, text), h in zip(data, heard, strict=True)) / words


def save(network: CtcNetwork, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_bytes(msgspec.json.format(msgspec.json.encode(CtcConfig())) + b"\n")
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, directory / "model.safetensors")


def train(network: CtcNetwork, data: list[Utterance], epochs: int, out: Path, seed: int) -> None:
    rng = random.Random(seed)
    data, check = data[:-100], data[-100:]
    steps = epochs * len(batches(data, 16, rng))
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.15)
    started = time.monotonic()
    print(
        f"{sum(p.numel() for p in network.parameters()):,} parameters, {len(data)} sentences, {steps} steps", flush=True
    )
    for epoch in range(epochs):
        total = 0.0
        for batch in batches(data, 16, rng):
            loss = loss_of(network, batch, rng)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        minutes = (time.monotonic() - started) / 60
        mean = total / (steps / epochs)
        print(
            f"epoch {epoch + 1}: loss {mean:.3f}, error {error_rate(network, check):.3f}, {minutes:.1f} min", flush=True
        )
        save(network, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--go-on", action="store_true", help="start from the weights in --out")
    parser.add_argument("--catalog", type=Path, default=CATALOG)
    parser.add_argument("--out", type=Path, default=ASSETS / "tiny-stt")
    options = parser.parse_args()
    started = time.monotonic()
    data = generate(options.count, options.seed, options.catalog)
    print(f"{len(data)} sentences spoken in {time.monotonic() - started:.0f} s", flush=True)
    torch.manual_seed(options.seed)
    network = CtcNetwork(CtcConfig())
    if options.go_on:
        network.load_state_dict(load_file(options.out / "model.safetensors"))
    train(network, data, options.epochs, options.out, options.seed)


if __name__ == "__main__":
    main()
