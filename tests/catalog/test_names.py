"""Names as people write them."""

import pytest

from weft import catalog
from weft.core.errors import CatalogError


@pytest.mark.parametrize(
    ("name", "device_id"),
    [
        ("H100", "h100-sxm"),
        ("h100-sxm", "h100-sxm"),
        ("NVIDIA H100 SXM", "h100-sxm"),
        ("AMD Instinct MI300X", "mi300x"),
        ("Intel Gaudi 3", "gaudi3"),
        ("gaudi3", "gaudi3"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm"),
        ("A100", "a100-sxm"),
        ("a100 40gb", "a100-sxm-40gb"),
        ("epyc 9965", "epyc-9965"),
        ("Intel Xeon 6980P", "xeon-6980p"),
        ("Google TPU v5e", "tpu-v5e"),
        ("Apple M4 Max", "m4-max"),
    ],
)
def test_device(name: str, device_id: str) -> None:
    assert catalog.device(name).id == device_id


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("Llama 3 8B", "llama-3-8b"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-8b"),
        ("meta-llama/Llama-3.1-70B-Instruct", "llama-3.1-70b"),
        ("Qwen/Qwen3-32B", "qwen3-32b"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("moonshotai/Kimi-K2-Instruct", "kimi-k2"),
    ],
)
def test_model(name: str, model_id: str) -> None:
    assert catalog.model(name).id == model_id


def test_every_id_and_name_resolves_to_itself() -> None:
    for profile in catalog.PROFILES:
        for device in catalog.devices(profile).values():
            assert catalog.device(device.id, profile) is catalog.device(f"{device.vendor} {device.name}", profile)
    for model in catalog.models().values():
        assert catalog.model(model.name) is catalog.model(model.id.upper()) is model


@pytest.mark.parametrize(
    ("lookup", "name", "nearest"),
    [
        (catalog.device, "h1000", "h100-sxm"),
        (catalog.model, "lama-3-8b", "llama-3-8b"),
        (catalog.link, "roce-40g", "roce-400g"),
        (catalog.slo, "interactiv", "interactive"),
        (catalog.finance, "papers", "paper"),
    ],
)
def test_an_unknown_name_is_refused_with_the_three_nearest(lookup: object, name: str, nearest: str) -> None:
    with pytest.raises(CatalogError) as refused:
        lookup(name)  # type: ignore[operator]
    assert name in refused.value.subject
    assert nearest in refused.value.way_out
    assert refused.value.way_out.count(",") == 2


@pytest.mark.parametrize("name", ["", " ", "/", "nvidia", "H100\n; rm", "é" * 1000])
def test_hostile_names_are_refused(name: str) -> None:
    with pytest.raises(CatalogError):
        catalog.device(name)


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(CatalogError, match="default and paper"):
        catalog.devices("../devices")


def test_the_catalogue_cannot_be_changed_by_its_readers() -> None:
    with pytest.raises(TypeError):
        catalog.devices()["h100-sxm"] = catalog.device("a40")  # type: ignore[index]
