#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool serve-h100-sxm: llama-3-70b on vllm 0.33.0, 4 devices.
# Written by weft compile; flags as in vllm 0.33.0, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
REPLICA=${REPLICA:-0}
MODEL_DIR=${MODEL_DIR:-/data/llama}
BIND=${BIND:-127.0.0.1}
PORT=${PORT:-$((8100 + REPLICA))}
exec docker run --rm \
  --gpus=all \
  --ipc=host \
  --net=host \
  --ulimit=memlock=-1 \
  --volume="${MODEL_DIR}":/models/llama-3-70b:ro \
  --env=VLLM_API_KEY \
  --entrypoint=vllm \
  vllm/vllm-openai:v0.33.0 serve /models/llama-3-70b \
  --served-model-name llama-3-70b \
  --tensor-parallel-size 4 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --block-size 16 \
  --dtype auto \
  --quantization fp8 \
  --kv-cache-dtype fp8 \
  --host "${BIND}" \
  --port "${PORT}"

#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool prefill: llama-3-70b on vllm 0.33.0, 4 devices.
# Written by weft compile; flags as in vllm 0.33.0, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs a router that takes each prompt to prefill first, then to decode (decode).
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
REPLICA=${REPLICA:-0}
: "${MODEL_DIR:?set it: the folder of the checkpoint of llama-3-70b}"
BIND=${BIND:-127.0.0.1}
: "${HOST_IP:?set it: the address of this machine that the other pools reach}"
PORT=${PORT:-$((8100 + REPLICA))}
SIDE_PORT=${SIDE_PORT:-$((5700 + REPLICA))}
exec docker run --rm \
  --gpus=all \
  --ipc=host \
  --net=host \
  --ulimit=memlock=-1 \
  --volume="${MODEL_DIR}":/models/llama-3-70b:ro \
  --env=VLLM_NIXL_SIDE_CHANNEL_HOST="${HOST_IP}" \
  --env=VLLM_NIXL_SIDE_CHANNEL_PORT="${SIDE_PORT}" \
  --env=VLLM_API_KEY \
  --entrypoint=vllm \
  vllm/vllm-openai:v0.33.0 serve /models/llama-3-70b \
  --served-model-name llama-3-70b \
  --tensor-parallel-size 4 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --block-size 16 \
  --dtype auto \
  --quantization fp8 \
  --kv-cache-dtype fp8 \
  --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_producer","kv_buffer_device":"cuda","kv_load_failure_policy":"fail"}' \
  --host "${BIND}" \
  --port "${PORT}"

#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool decode: llama-3-70b on vllm 0.33.0, 4 devices.
# Written by weft compile; flags as in vllm 0.33.0, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs a router that takes each prompt to prefill first, then to decode (prefill).
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
REPLICA=${REPLICA:-0}
: "${MODEL_DIR:?set it: the folder of the checkpoint of llama-3-70b}"
BIND=${BIND:-127.0.0.1}
: "${HOST_IP:?set it: the address of this machine that the other pools reach}"
PORT=${PORT:-$((8100 + REPLICA))}
SIDE_PORT=${SIDE_PORT:-$((5700 + REPLICA))}
exec docker run --rm \
  --gpus=all \
  --ipc=host \
  --net=host \
  --ulimit=memlock=-1 \
  --volume="${MODEL_DIR}":/models/llama-3-70b:ro \
  --env=VLLM_NIXL_SIDE_CHANNEL_HOST="${HOST_IP}" \
  --env=VLLM_NIXL_SIDE_CHANNEL_PORT="${SIDE_PORT}" \
  --env=VLLM_API_KEY \
  --entrypoint=vllm \
  vllm/vllm-openai:v0.33.0 serve /models/llama-3-70b \
  --served-model-name llama-3-70b \
  --tensor-parallel-size 4 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --block-size 16 \
  --dtype auto \
  --quantization fp8 \
  --kv-cache-dtype fp8 \
  --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_consumer","kv_buffer_device":"cuda","kv_load_failure_policy":"fail"}' \
  --host "${BIND}" \
  --port "${PORT}"
