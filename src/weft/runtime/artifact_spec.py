"""A compiled model that a node runs in place of the torch engine: where it lies, and the hashes it must have."""

import msgspec


class ArtifactSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`folder` is one of a bundle's artifacts; its weights are those of the node's `model_dir`. The node checks all
    bytes of the files in `sha256` (name → hash). `driver` takes the place of the device that the code was made for
    (OpenVINO: GPU, NPU); `cache_tokens` is how many the KV cache holds, 0: one context, at least 4096."""

    folder: str
    target: str = ""
    """As `weft compile --target` calls it, for people."""
    sha256: dict[str, str] = {}
    driver: str = ""
    cache_tokens: int = 0
