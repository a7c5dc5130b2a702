#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool serve-h100-sxm: llama-3-70b on vllm-tpu 0.32.0, 4 devices.
# Written by weft compile; flags as in vllm-tpu 0.32.0, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs weights in that checkpoint that are quantised to fp8: vllm-tpu does not.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
REPLICA=${REPLICA:-0}
MODEL_DIR=${MODEL_DIR:-/data/llama}
BIND=${BIND:-127.0.0.1}
PORT=${PORT:-$((8100 + REPLICA))}
exec docker run --rm \
  --privileged \
  --net=host \
  --shm-size=16g \
  --volume="${MODEL_DIR}":/models/llama-3-70b:ro \
  --env=VLLM_API_KEY \
  --entrypoint=vllm \
  vllm/vllm-tpu:latest serve /models/llama-3-70b \
  --served-model-name llama-3-70b \
  --tensor-parallel-size 4 \
  --max-model-len 8192 \
  --max-num-seqs 64 \
  --max-num-batched-tokens 2048 \
  --dtype auto \
  --host "${BIND}" \
  --port "${PORT}"
