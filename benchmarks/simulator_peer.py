"""aisimulate, NVIDIA's simulator of serving engines (its replay is Rust), on the load of benchmarks/simulator.py.

It lives in a virtual environment of its own under build/peers, made on the first run; without a network its rows are
left out and the reason is printed. What it needs to start (imports, performance tables) is taken off: counted is what
40,000 more requests cost, in CPU seconds of all its threads, the smaller of two tries.
"""

import json
import resource
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PEER = "aisimulate==0.13.0.dev202610270000000085"
_VENV = Path(__file__).parents[1] / "build/peers" / PEER.replace("==", "-")
_FEW, _MANY, _TRIES = 2_000, 42_000, 2
_CONFIG = {
    "traffic": {
        "source": {"type": "synthetic", "input_tokens": 1024, "output_tokens": 256},
        "load": {"type": "poisson", "requests_per_second": 64},
    },
    "engine": {
        "mode": "aggregated",
        "model": "meta-llama/Meta-Llama-3.1-8B",
        "hardware": "h100_sxm",
        "backend": "vllm",
        "workers": {
            "aggregated": {
                "parallelism": {"replicas": 8},
                "scheduler": {"max_batched_tokens": 2048, "max_sequences": 128},
                "kv_cache": {"block_size": 64, "prefix_caching": False},
            }
        },
    },
}


def peer_s_per_request() -> float | None:
    """CPU seconds; None where it cannot be had."""
    try:
        _install()
        few, many = (min(_cpu_s(count) for _ in range(_TRIES)) for count in (_FEW, _MANY))
    except (OSError, subprocess.SubprocessError) as failure:
        print(f"{PEER} is left out: {failure}", file=sys.stderr)
        return None
    return (many - few) / (_MANY - _FEW)


def _install() -> None:
    if not (_VENV / ".ready").exists():
        venv.create(_VENV, with_pip=True, clear=True)
        subprocess.run([_VENV / "bin/pip", "install", "-q", PEER], check=True, capture_output=True, timeout=900)
        (_VENV / ".ready").touch()


def _cpu_s(requests: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(json.dumps(_CONFIG))  # JSON is YAML
        command = [_VENV / "bin/aisimulate", "predict", "--config", config, "--output-dir", Path(folder, "out")]
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        options = ["--set", f"traffic.stop.requests={requests}", "--format", "json"]
        subprocess.run([*command, *options], check=True, capture_output=True, timeout=600)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
