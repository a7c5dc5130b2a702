"""Small hand-made devices and models, so that these tests do not move with the catalogue."""

from weft.core.hardware import Device, DeviceKind, Finance, Interconnect, Link, Source
from weft.core.model import Experts, ModelSpec
from weft.core.units import GIGA, TERA, Precision

SOURCE = Source(url="test", as_of="2026-11")
PAPER = Finance("paper", 4, 0.08, False, 0.40, 1.0, 1.0, 0.0)
OWNED = Finance("owned", 4, 0.08, True, 0.40, 1.0, 1.0, 0.0)
CLOUD = Finance("cloud", 4, 0.08, True, 0.0, 0.0, 1.0, 0.0, cloud=True)
ROCE = Link("roce-400g", "RoCE 400G", 50 * GIGA, 5e-6, 0.0, SOURCE)


def device(
    id: str = "h100",
    *,
    fp16_tflops: float | None = 989,
    fp8_tflops: float | None = 1979,
    memory_gb: float = 80,
    memory_gb_per_s: float = 3350,
    scale_up_gb_per_s: float | None = 450,
    tdp_w: float | None = 700,
    price_usd: float | None = 25_000,
    kind: DeviceKind = DeviceKind.GPU,
    cores: int | None = None,
) -> Device:
    rates = {Precision.FP16: fp16_tflops, Precision.FP8: fp8_tflops}
    return Device(
        id=id,
        name=id.upper(),
        vendor="test",
        kind=kind,
        flops_per_s={precision: rate * TERA for precision, rate in rates.items() if rate is not None},
        memory_bytes=memory_gb * GIGA,
        memory_bytes_per_s=memory_gb_per_s * GIGA,
        tdp_w=tdp_w,
        scale_up=Interconnect("fabric", scale_up_gb_per_s * GIGA, 8) if scale_up_gb_per_s else None,
        cores=cores,
        price_usd=price_usd,
        cloud_usd_per_hour=None,
        source=SOURCE,
    )


def cpu(id: str = "epyc", cores: int = 64, price_usd: float = 12_000) -> Device:
    return device(
        id,
        fp16_tflops=None,
        fp8_tflops=None,
        memory_gb=512,
        memory_gb_per_s=600,
        scale_up_gb_per_s=None,
        tdp_w=500,
        price_usd=price_usd,
        kind=DeviceKind.CPU,
        cores=cores,
    )


H100 = device()
A100 = device(
    "a100", fp16_tflops=312, fp8_tflops=None, memory_gb_per_s=2039, scale_up_gb_per_s=300, tdp_w=400, price_usd=8_000
)


def llama(id: str, layers: int, d_model: int, heads: int, ffn: int, params: float, context: int = 8192) -> ModelSpec:
    return ModelSpec(
        id=id,
        name=id,
        layers=layers,
        d_model=d_model,
        heads=heads,
        kv_heads=8,
        head_dim=128,
        ffn=ffn,
        vocab=128_256,
        context=context,
        params_total=params,
        params_active=params,
        kv_bytes_per_token_fp16=layers * 2 * 8 * 128 * 2,
        attention="GQA",
        tied_embeddings=False,
        experts=None,
        source=SOURCE,
    )


LLAMA_8B = llama("llama-3-8b", 32, 4096, 32, 14_336, 8.03e9)
LLAMA_70B = llama("llama-3-70b", 80, 8192, 64, 28_672, 70.55e9)

MIXTRAL = ModelSpec(
    id="mixtral-8x7b",
    name="Mixtral-8x7B",
    layers=32,
    d_model=4096,
    heads=32,
    kv_heads=8,
    head_dim=128,
    ffn=14_336,
    vocab=32_000,
    context=32_768,
    params_total=46.7e9,
    params_active=12.88e9,
    kv_bytes_per_token_fp16=131_072,
    attention="GQA",
    tied_embeddings=False,
    experts=Experts(count=8, active=2, shared=0, ffn=14_336, dense_layers=0),
    source=SOURCE,
)
