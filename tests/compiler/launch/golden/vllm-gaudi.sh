#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool serve-h100-sxm: llama-3-70b on vllm-gaudi 0.21.0, 4 devices.
# Written by weft compile; flags as in vllm-gaudi 0.21.0, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs QUANT_CONFIG, a file in QUANT_DIR: the model's calibration on this Gaudi (Intel Neural Compressor).
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
REPLICA=${REPLICA:-0}
MODEL_DIR=${MODEL_DIR:-/data/llama}
BIND=${BIND:-127.0.0.1}
DEVICES=${DEVICES:-all}
: "${QUANT_DIR:?set it: the folder that holds QUANT_CONFIG and the measurements beside it}"
PORT=${PORT:-$((8100 + REPLICA))}
exec docker run --rm \
  --runtime=habana \
  --cap-add=sys_nice \
  --ipc=host \
  --net=host \
  --volume="${MODEL_DIR}":/models/llama-3-70b:ro \
  --volume="${QUANT_DIR}":"${QUANT_DIR}":ro \
  --env=HABANA_VISIBLE_DEVICES="${DEVICES}" \
  --env=VLLM_API_KEY \
  --env=QUANT_CONFIG \
  --entrypoint=vllm \
  vault.habana.ai/gaudi-docker/1.23.0/ubuntu22.04/habanalabs/vllm-installer-2.9.0:latest serve /models/llama-3-70b \
  --served-model-name llama-3-70b \
  --tensor-parallel-size 4 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --block-size 128 \
  --dtype auto \
  --quantization inc \
  --kv-cache-dtype fp8_inc \
  --host "${BIND}" \
  --port "${PORT}"

#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool prefill: llama-3-70b on vllm-gaudi 0.21.0, 4 devices.
# Written by weft compile; flags as in vllm-gaudi 0.21.0, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs QUANT_CONFIG, a file in QUANT_DIR: the model's calibration on this Gaudi (Intel Neural Compressor).
# Needs a router that takes each prompt to prefill first, then to decode (decode).
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
REPLICA=${REPLICA:-0}
: "${MODEL_DIR:?set it: the folder of the checkpoint of llama-3-70b}"
BIND=${BIND:-127.0.0.1}
DEVICES=${DEVICES:-all}
: "${QUANT_DIR:?set it: the folder that holds QUANT_CONFIG and the measurements beside it}"
: "${HOST_IP:?set it: the address of this machine that the other pools reach}"
PORT=${PORT:-$((8100 + REPLICA))}
SIDE_PORT=${SIDE_PORT:-$((5700 + REPLICA))}
exec docker run --rm \
  --runtime=habana \
  --cap-add=sys_nice \
  --ipc=host \
  --net=host \
  --volume="${MODEL_DIR}":/models/llama-3-70b:ro \
  --volume="${QUANT_DIR}":"${QUANT_DIR}":ro \
  --env=HABANA_VISIBLE_DEVICES="${DEVICES}" \
  --env=VLLM_NIXL_SIDE_CHANNEL_HOST="${HOST_IP}" \
  --env=VLLM_NIXL_SIDE_CHANNEL_PORT="${SIDE_PORT}" \
  --env=UCX_MEMTYPE_CACHE=0 \
  --env=VLLM_NIXL_DEVICE_TO_DEVICE=false \
  --env=VLLM_API_KEY \
  --env=QUANT_CONFIG \
  --entrypoint=vllm \
  vault.habana.ai/gaudi-docker/1.23.0/ubuntu22.04/habanalabs/vllm-installer-2.9.0:latest serve /models/llama-3-70b \
  --served-model-name llama-3-70b \
  --tensor-parallel-size 4 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --block-size 128 \
  --dtype auto \
  --quantization inc \
  --kv-cache-dtype fp8_inc \
  --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_producer","kv_buffer_device":"cpu","kv_load_failure_policy":"fail"}' \
  --host "${BIND}" \
  --port "${PORT}"

#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool decode: llama-3-70b on vllm-gaudi 0.21.0, 4 devices.
# Written by weft compile; flags as in vllm-gaudi 0.21.0, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs QUANT_CONFIG, a file in QUANT_DIR: the model's calibration on this Gaudi (Intel Neural Compressor).
# Needs a router that takes each prompt to prefill first, then to decode (prefill).
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
REPLICA=${REPLICA:-0}
: "${MODEL_DIR:?set it: the folder of the checkpoint of llama-3-70b}"
BIND=${BIND:-127.0.0.1}
DEVICES=${DEVICES:-all}
: "${QUANT_DIR:?set it: the folder that holds QUANT_CONFIG and the measurements beside it}"
: "${HOST_IP:?set it: the address of this machine that the other pools reach}"
PORT=${PORT:-$((8100 + REPLICA))}
SIDE_PORT=${SIDE_PORT:-$((5700 + REPLICA))}
exec docker run --rm \
  --runtime=habana \
  --cap-add=sys_nice \
  --ipc=host \
  --net=host \
  --volume="${MODEL_DIR}":/models/llama-3-70b:ro \
  --volume="${QUANT_DIR}":"${QUANT_DIR}":ro \
  --env=HABANA_VISIBLE_DEVICES="${DEVICES}" \
  --env=VLLM_NIXL_SIDE_CHANNEL_HOST="${HOST_IP}" \
  --env=VLLM_NIXL_SIDE_CHANNEL_PORT="${SIDE_PORT}" \
  --env=UCX_MEMTYPE_CACHE=0 \
  --env=VLLM_NIXL_DEVICE_TO_DEVICE=false \
  --env=VLLM_API_KEY \
  --env=QUANT_CONFIG \
  --entrypoint=vllm \
  vault.habana.ai/gaudi-docker/1.23.0/ubuntu22.04/habanalabs/vllm-installer-2.9.0:latest serve /models/llama-3-70b \
  --served-model-name llama-3-70b \
  --tensor-parallel-size 4 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --block-size 128 \
  --dtype auto \
  --quantization inc \
  --kv-cache-dtype fp8_inc \
  --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_consumer","kv_buffer_device":"cpu","kv_load_failure_policy":"fail"}' \
  --host "${BIND}" \
  --port "${PORT}"
