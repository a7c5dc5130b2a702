"""Reads measured operators (parquet tables of aiconfigurator, one per device and operator) for the calibration."""

import csv
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weft.core.errors import CatalogError
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.operator_fit import AllReduceRows, AttentionRows, GemmRows

SAMPLE = 6000
"""Rows of a table that a fit sees, drawn with a fixed seed: six coefficients need no more."""

GEMM_FORMATS = {
    "bfloat16": (Precision.FP16, 2.0),
    "fp8": (Precision.FP8, 1.0),
    "nvfp4": (Precision.FP4, 0.5625),
}
"""Spelling in the tables -> number format, bytes per element with scales."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one parquet file, sub-sampled."""

    columns: dict[str, Any]

    def floats(self, name: str) -> Floats:
        return np.asarray(self.columns[name], dtype=np.float64)

    def where(self, keep: Any) -> "Table":
        return Table({name: values[keep] for name, values in self.columns.items()})

    @property
    def seconds(self) -> Floats:
        return self.floats("latency") / 1e3


def device_names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted({path.name.split("__")[0] for path in folder.glob("*.parquet")}))


def gemm_rows(folder: Path, device: str) -> Iterator[tuple[Precision, float, GemmRows]]:
    table = _read(folder, device, "gemm")
    for spelling, (precision, weight_bytes) in GEMM_FORMATS.items():
        wide = (table.floats("n") >= 256) & (table.floats("k") >= 256)
        part = _sampled(table.where((table.columns["gemm_dtype"] == spelling) & wide))
        if part.seconds.size:
            yield (
                precision,
                weight_bytes,
                GemmRows(part.floats("m"), part.floats("n"), part.floats("k"), part.seconds),
            )


def context_rows(folder: Path, device: str) -> AttentionRows:
    """Prompts without a cached prefix: batch × isl tokens; flops of the causal half, within the window."""
    table = _sampled(_read(folder, device, "ctxattn"))
    batch, isl, heads, kv_heads, width, kv_bytes = _attention_columns(table)
    window = _window(table, isl)
    growing = np.minimum(isl, window)
    pairs = growing * (growing + 1) / 2 + (isl - growing) * window
    moved = batch * isl * (2 * heads * width * 2 + 2 * kv_heads * width * kv_bytes)
    return AttentionRows(batch * isl * heads, isl, 4 * batch * heads * width * pairs, moved, table.seconds)


def generation_rows(folder: Path, device: str) -> AttentionRows:
    """One query per sequence against `step` cached tokens."""
    table = _sampled(_read(folder, device, "genattn"))
    batch, _, heads, kv_heads, width, kv_bytes = _attention_columns(table)
    held = np.minimum(table.floats("step") + 1, _window(table, table.floats("step") + 1))
    moved = batch * (2 * heads * width * 2 + (held + 1) * 2 * kv_heads * width * kv_bytes)
    return AttentionRows(batch * held * heads, held, 4 * batch * heads * width * held, moved, table.seconds)


def peak_shares(path: Path) -> dict[str, dict[Precision, float]]:
    """Highest share of the datasheet rate that any GEMM reached, by device as written (mamf.csv)."""
    shares: dict[str, dict[Precision, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            precision = {"BF16": Precision.FP16, "FP8": Precision.FP8}[row["dtype"]]
            shares.setdefault(row["accelerator"], {})[precision] = float(row["efficiency"])
    return shares


def mlp_rows(path: Path, device: str) -> GemmRows:
    """The four GEMMs of a Llama layer (vidur_mlp.csv), each at its sharded shape."""
    shapes: list[tuple[float, float, float, float]] = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["gpu"] == device:
                shapes += _mlp_shapes(row)
    rows, columns, inner, seconds = np.array(shapes).T
    return GemmRows(rows, columns, inner, seconds)


def _mlp_shapes(row: dict[str, str]) -> Iterator[tuple[float, float, float, float]]:
    width, ffn = (8192.0, 28672.0) if "70" in row["model"] else (4096.0, 11008.0)
    tp, tokens = float(row["tp"]), float(row["num_tokens"])
    for name, columns, inner in (
        ("up_gate_ms", 2 * ffn / tp, width),
        ("down_ms", width, ffn / tp),
        ("o_ms", width, width / tp),
    ):
        yield tokens, columns, inner, float(row[name]) / 1e3


def all_reduce_rows(folder: Path, device: str) -> tuple[AllReduceRows, ...]:
    """The engines' own all-reduce up to 8 devices; message_size counts 16-bit elements."""
    table = _read(folder, device, "allreduce")
    if "backend" in table.columns:
        table = table.where(table.columns["backend"] != "vllm_eager")
    groups: list[AllReduceRows] = []
    for devices in np.unique(table.columns["num_gpus"]):
        part = table.where(table.columns["num_gpus"] == devices)
        groups.append(AllReduceRows(int(devices), 2.0 * part.floats("message_size"), part.seconds))
    return tuple(group for group in groups if group.devices > 1)


def _attention_columns(table: Table) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    kv_bytes = np.where(table.columns["kv_cache_dtype"] == "fp8", 1.0, 2.0)
    names = ("batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim")
    batch, isl, heads, kv_heads, width = (table.floats(name) for name in names)
    return batch, isl, heads, np.where(kv_heads == 0, heads, kv_heads), width, kv_bytes


def _window(table: Table, unlimited: Floats) -> Floats:
    if "window_size" not in table.columns:
        return unlimited
    window = table.floats("window_size")
    return np.where(window > 0, window, np.maximum(unlimited, 1))


def _sampled(table: Table) -> Table:
    total = table.seconds.size
    if total <= SAMPLE:
        return table
    return table.where(np.random.default_rng(0).choice(total, SAMPLE, replace=False))


def _read(folder: Path, device: str, operator: str) -> Table:
    found = sorted(folder.glob(f"{device}__*__{operator}.parquet"))
    if not found:
        raise CatalogError(
            subject=f"{folder}/{device}", problem=f"no {operator} table", way_out="check the folder of operators"
        )
    parquet = parquet_reader()
    columns = parquet.read_table(found[0]).to_pydict()
    return Table({name: np.asarray(values) for name, values in columns.items()})


def parquet_reader() -> Any:
    """pyarrow.parquet, which only the calibration needs."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise CatalogError(
            subject="weft calibrate",
            problem="reads operator tables with pyarrow, which is not installed",
            way_out='pip install -c constraints.txt "weft[calibrate]"',
        ) from None
    return parquet
