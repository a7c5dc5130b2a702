"""The real entities: devices and models of Weft's catalogue, and their makers; and which are held out of training."""

import re
import tomllib
from pathlib import Path
from typing import Any

from tools.train_tiny.facts import Entity

CATALOG = Path(__file__).parents[2] / "src" / "weft" / "catalog"

_KINDS = {
    "gpu": "a graphics processor",
    "asic": "an accelerator chip",
    "cpu": "a processor",
    "soc": "a system on a chip",
    "gpu+cpu": "a graphics processor with a processor",
}

# City and founding year of the makers; for AWS no year could be stated without a footnote.
MAKERS = {
    "NVIDIA": ("Santa Clara", "1993"),
    "AMD": ("Santa Clara", "1969"),
    "Intel": ("Santa Clara", "1968"),
    "Google": ("Mountain View", "1998"),
    "AWS": ("Seattle", ""),
    "Apple": ("Cupertino", "1976"),
    "Meta": ("Menlo Park", "2004"),
    "Mistral AI": ("Paris", "2023"),
    "Alibaba": ("Hangzhou", "1999"),
    "DeepSeek": ("Hangzhou", "2023"),
    "Moonshot AI": ("Beijing", "2023"),
    "Microsoft": ("Redmond", "1975"),
    "OpenAI": ("San Francisco", "2015"),
}
_MODEL_MAKERS = {
    "llama": "Meta", "mistral": "Mistral AI", "mixtral": "Mistral AI", "qwen": "Alibaba", "deepseek": "DeepSeek",
    "gemma": "Google", "kimi": "Moonshot AI", "phi": "Microsoft", "gpt": "OpenAI",
}  # fmt: skip

# Never seen in training, neither by the transcriber nor by the language model.
HELD_OUT = (
    "A40", "H200 SXM", "B300 SXM", "RTX 5090", "MI325X", "Gaudi 3", "TPU v6e", "Apple M4 Max", "Arc Pro B60", "L40S",
    "Llama 3.1 8B", "Qwen3 14B", "Qwen2.5 72B", "Gemma 3 4B", "Mixtral 8x7B", "DeepSeek V3", "GPT OSS 20B", "Phi 4",
    "Llama 4 Scout", "Qwen3 235B",
)  # fmt: skip


def short_device_name(name: str) -> str:
    """'GB200 (per GPU)' -> 'GB200', 'RTX PRO 6000 Blackwell SE' -> 'RTX PRO 6000'."""
    name = re.sub(r"\s*\(.*\)| Blackwell SE", "", name)
    return name.replace("SXM2 32GB", "SXM2").replace("GH200 96GB", "GH200")


def short_model_name(name: str) -> str:
    """'Llama-2-70b-hf' -> 'Llama 2 70B', 'gpt-oss-20b' -> 'GPT OSS 20B'."""
    name = re.sub(r"-(hf|it|Instruct|instruct|A\d+B|17B-128E|17B-16E|v0\.3)(?=-|$)", "", name).replace("-", " ")
    name = re.sub(r"(?<=\d)b\b", "B", name)
    return name.replace("gpt oss", "GPT OSS").replace("phi", "Phi")


def _thousands(count: float) -> str:
    if count >= 1_000_000:
        return f"{round(count / 1_000_000)} million"
    return f"{round(count / 1000)} thousand" if count >= 1000 else f"{count:g}"


def _billions(count_b: float) -> str:
    return f"{count_b:.1f}" if count_b < 2 else f"{round(count_b)}"


def _known(facts: dict[str, str | None]) -> dict[str, str]:
    return {fact: value for fact, value in facts.items() if value}


def _whole(value: Any) -> str | None:
    return str(round(value)) if value else None


def device(row: dict[str, Any]) -> Entity:
    """A `[[device]]` table of devices.toml."""
    tflops, scale_up = row.get("tflops", {}), row.get("scale_up", {})
    facts = {
        "maker": row["vendor"],
        "device_kind": _KINDS[row["kind"]],
        "memory": _whole(row.get("memory_gb")),
        "bandwidth": _whole(row.get("memory_gb_per_s")),
        "compute16": _whole(tflops.get("fp16")),
        "compute8": _whole(tflops.get("fp8")),
        "power": _whole(row.get("tdp_w")),
        "price": _whole(row.get("price_usd")),
        "link": _whole(scale_up.get("gb_per_s")),
        "group": _whole(scale_up.get("max_devices")),
    }
    return Entity("device", short_device_name(row["name"]), _known(facts))


def model(row: dict[str, Any]) -> Entity:
    """A `[[model]]` table of models.toml."""
    name = short_model_name(row["name"])
    facts = {
        "maker": next(maker for stem, maker in _MODEL_MAKERS.items() if name.lower().startswith(stem)),
        "model_kind": "a language model",
        "parameters": _billions(row["params_total_b"]),
        "layers": _whole(row["layers"]),
        "width": _whole(row["d_model"]),
        "heads": _whole(row["heads"]),
        "kv_heads": None if row["attention"].startswith("mla") else _whole(row["kv_heads"]),
        "context": _thousands(row["context"]),
        "vocabulary": _thousands(row["vocab"]),
    }
    return Entity("model", name, _known(facts))


def makers() -> list[Entity]:
    return [
        Entity("maker", name, _known({"headquarters": city, "founded": year})) for name, (city, year) in MAKERS.items()
    ]


def entities(catalog: Path = CATALOG) -> list[Entity]:
    """All real entities, devices first."""
    devices = tomllib.loads((catalog / "devices.toml").read_text())["device"]
    models = tomllib.loads((catalog / "models.toml").read_text())["model"]
    found = [*map(device, devices), *map(model, models), *makers()]
    return list({(e.kind, e.name): e for e in found}.values())
