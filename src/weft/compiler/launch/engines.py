"""The engines that Weft writes launch specs for, as data: flags, images, what their caches can be joined with.

Flags were read in the parser of the version that is named here, not in a manual: `source` says where, `as_of` when.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.core.units import Precision


@dataclass(frozen=True, slots=True)
class Flag:
    """`setting` is Weft's name of what the flag says. A `switch` takes no value. Left out where the value is
    `unless`."""

    setting: str
    flag: str
    switch: bool = False
    unless: int | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """`kv` names the wire that caches travel on: pools can be joined where it is the same. `kv_device` is where the
    engine can register a cache for it beside host memory; "" where it cannot. `block_size` is what the engine's kernels
    need, if they do. `online` are the settings with which it makes a precision of 16-bit weights; for the others the
    checkpoint itself must be of that format. `docker` are the options that give a container the devices; `secret` is
    the environment variable from which it reads its API key.
    """

    name: str
    version: str
    program: tuple[str, ...]
    flags: tuple[Flag, ...]
    image: str
    docker: tuple[str, ...]
    source: str
    as_of: str
    kv: str = ""
    kv_device: str = ""
    block_size: int | None = None
    online: Mapping[Precision, Mapping[str, str]] = field(default_factory=dict[Precision, Mapping[str, str]])
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    variables: tuple[tuple[str, str], ...] = ()
    secret: str = ""


VLLM_FLAGS = (
    Flag("served_name", "--served-model-name"),
    Flag("tp", "--tensor-parallel-size"),
    Flag("pp", "--pipeline-parallel-size", unless=1),
    Flag("dp", "--data-parallel-size", unless=1),
    Flag("expert_parallel", "--enable-expert-parallel", switch=True),
    Flag("max_tokens", "--max-model-len"),
    Flag("batch_limit", "--max-num-seqs"),
    Flag("step_tokens", "--max-num-batched-tokens"),
    Flag("block_size", "--block-size"),
    Flag("dtype", "--dtype"),
    Flag("quantization", "--quantization"),
    Flag("kv_dtype", "--kv-cache-dtype"),
    Flag("kv_transfer", "--kv-transfer-config"),
    Flag("host", "--host"),
    Flag("port", "--port"),
)
SGLANG_FLAGS = (
    Flag("model", "--model-path"),
    Flag("served_name", "--served-model-name"),
    Flag("tp", "--tp-size"),
    Flag("pp", "--pp-size", unless=1),
    Flag("dp", "--dp-size", unless=1),
    Flag("ep", "--ep-size", unless=1),
    Flag("max_tokens", "--context-length"),
    Flag("batch_limit", "--max-running-requests"),
    Flag("step_tokens", "--chunked-prefill-size"),
    Flag("block_size", "--page-size"),
    Flag("dtype", "--dtype"),
    Flag("quantization", "--quantization"),
    Flag("kv_dtype", "--kv-cache-dtype"),
    Flag("role", "--disaggregation-mode"),
    Flag("kv_wire", "--disaggregation-transfer-backend"),
    Flag("side_port", "--disaggregation-bootstrap-port"),
    Flag("host", "--host"),
    Flag("port", "--port"),
)
TENSORRT_FLAGS = (
    Flag("backend", "--backend"),
    Flag("tp", "--tp_size"),
    Flag("pp", "--pp_size", unless=1),
    Flag("ep", "--ep_size", unless=1),
    Flag("max_tokens", "--max_seq_len"),
    Flag("batch_limit", "--max_batch_size"),
    Flag("step_tokens", "--max_num_tokens"),
    Flag("config", "--extra_llm_api_options"),
    Flag("host", "--host"),
    Flag("port", "--port"),
)

CUDA = ("--gpus=all", "--ipc=host", "--net=host", "--ulimit=memlock=-1")
ROCM = (
    "--device=/dev/kfd",
    "--device=/dev/dri",
    "--group-add=video",
    "--cap-add=SYS_PTRACE",
    "--security-opt=seccomp=unconfined",
    "--ipc=host",
    "--net=host",
)
GAUDI = ("--runtime=habana", "--cap-add=sys_nice", "--ipc=host", "--net=host")
XPU = ("--device=/dev/dri:/dev/dri", "--volume=/dev/dri/by-path:/dev/dri/by-path", "--ipc=host", "--net=host")

VLLM_FP8 = MappingProxyType({Precision.FP8: {"quantization": "fp8", "kv_dtype": "fp8"}})
VLLM_SOURCE = "PyPI wheel vllm 0.33.0: vllm/engine/arg_utils.py, config/{kv_transfer,cache}.py, envs.py"

ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        engine.name: engine
        for engine in (
            Engine(
                name="vllm",
                version="0.33.0",
                program=("vllm", "serve"),
                flags=VLLM_FLAGS,
                image="vllm/vllm-openai:v0.33.0",
                docker=CUDA,
                source=f"{VLLM_SOURCE}; docs.vllm.ai/en/stable/deployment/docker",
                as_of="2026-11-21",
                secret="VLLM_API_KEY",
                kv="vllm-nixl",
                kv_device="cuda",
                online=VLLM_FP8,
            ),
            Engine(
                name="vllm-rocm",
                version="0.33.0",
                program=("vllm", "serve"),
                flags=VLLM_FLAGS,
                image="vllm/vllm-openai-rocm:v0.33.0",
                docker=ROCM,
                source=f"{VLLM_SOURCE}; docs.vultr.com/inference-cookbook/rocm (image, 2026-03-17)",
                as_of="2026-11-21",
                secret="VLLM_API_KEY",
                kv="vllm-nixl",
                kv_device="cuda",
                online=VLLM_FP8,
            ),
            Engine(
                name="vllm-gaudi",
                version="0.21.0",
                program=("vllm", "serve"),
                flags=VLLM_FLAGS,
                image="vault.habana.ai/gaudi-docker/1.23.0/ubuntu22.04/habanalabs/vllm-installer-2.9.0:latest",
                docker=GAUDI,
                source="github vllm-project/vllm-gaudi v0.21.0: release notes, tests/unit_tests/run_accuracy_test.sh;"
                " docs.habana.ai vLLM Quick Start (image); docs.vllm.ai/projects/gaudi quantization/inc",
                as_of="2026-11-21",
                secret="VLLM_API_KEY",
                kv="vllm-nixl",
                block_size=128,
                online=MappingProxyType({Precision.FP8: {"quantization": "inc", "kv_dtype": "fp8_inc"}}),
                env=MappingProxyType({"HABANA_VISIBLE_DEVICES": "${DEVICES}"}),
                variables=(("DEVICES", "all"),),
            ),
            Engine(
                name="vllm-xpu",
                version="0.33.0",
                program=("vllm", "serve"),
                flags=VLLM_FLAGS,
                image="vllm/vllm-openai-xpu:v0.33.0",
                docker=XPU,
                source=f"{VLLM_SOURCE}; vllm docs/getting_started/installation/gpu.xpu.inc.md",
                as_of="2026-11-21",
                secret="VLLM_API_KEY",
                kv="vllm-nixl",
                kv_device="xpu",
                block_size=64,
                online=VLLM_FP8,
            ),
            Engine(
                name="vllm-tpu",
                version="0.32.0",
                program=("vllm", "serve"),
                flags=tuple(flag for flag in VLLM_FLAGS if flag.setting not in ("block_size", "kv_transfer")),
                image="vllm/vllm-tpu:latest",
                docker=("--privileged", "--net=host", "--shm-size=16g"),
                source="docs.vllm.ai/projects/tpu quickstart; PyPI vllm-tpu 0.32.0 is the newest there",
                as_of="2026-11-21",
                secret="VLLM_API_KEY",
            ),
            Engine(
                name="vllm-neuron",
                version="0.21",
                program=("vllm", "serve"),
                flags=tuple(flag for flag in VLLM_FLAGS if flag.setting not in ("block_size", "kv_transfer")),
                image="public.ecr.aws/neuron/pytorch-inference-vllm-neuronx:latest",
                docker=("--device=/dev/neuron0", "--net=host", "--cap-add=SYS_ADMIN"),
                source="docs awsdocs-neuron v2.32.0: vllm-neuron quickstart-online-serving, quickstart-deploy-dlc",
                as_of="2026-11-21",
                secret="VLLM_API_KEY",
            ),
            Engine(
                name="sglang",
                version="0.5.23",
                program=("python3", "-m", "sglang.launch_server"),
                flags=SGLANG_FLAGS,
                image="lmsysorg/sglang:v0.5.23",
                docker=CUDA,
                source="PyPI wheel sglang 0.5.23: sglang/srt/arg_groups/fields/*.py; docs.sglang.io install",
                as_of="2026-11-21",
                kv="sglang-nixl",
                kv_device="cuda",
                online=MappingProxyType({Precision.FP8: {"quantization": "fp8", "kv_dtype": "fp8_e4m3"}}),
            ),
            Engine(
                name="tensorrt-llm",
                version="1.2.1",
                program=("trtllm-serve",),
                flags=TENSORRT_FLAGS,
                image="nvcr.io/nvidia/tensorrt-llm/release:1.2.1",
                docker=CUDA,
                source="github.com/NVIDIA/TensorRT-LLM: tensorrt_llm/commands/serve.py @00209af1, "
                "docs/source/features/disagg-serving.md @0434b982; nvidia.github.io/TensorRT-LLM KvCacheConfig",
                as_of="2026-11-21",
                kv="tensorrt-llm-nixl",
                kv_device="cuda",
            ),
        )
    }
)
