#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool serve-h100-sxm: llama-3-70b on sglang 0.5.23, 4 devices.
# Written by weft compile; flags as in sglang 0.5.23, read 2026-11-21.
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
  --entrypoint=python3 \
  lmsysorg/sglang:v0.5.23 -m sglang.launch_server \
  --model-path /models/llama-3-70b \
  --served-model-name llama-3-70b \
  --tp-size 4 \
  --context-length 8192 \
  --max-running-requests 64 \
  --chunked-prefill-size 2048 \
  --page-size 16 \
  --dtype auto \
  --quantization fp8 \
  --kv-cache-dtype fp8_e4m3 \
  --host "${BIND}" \
  --port "${PORT}"

#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool prefill: llama-3-70b on sglang 0.5.23, 4 devices.
# Written by weft compile; flags as in sglang 0.5.23, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs a router that takes each prompt to prefill first, then to decode (decode).
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
REPLICA=${REPLICA:-0}
: "${MODEL_DIR:?set it: the folder of the checkpoint of llama-3-70b}"
BIND=${BIND:-127.0.0.1}
PORT=${PORT:-$((8100 + REPLICA))}
SIDE_PORT=${SIDE_PORT:-$((5700 + REPLICA))}
exec docker run --rm \
  --gpus=all \
  --ipc=host \
  --net=host \
  --ulimit=memlock=-1 \
  --volume="${MODEL_DIR}":/models/llama-3-70b:ro \
  --entrypoint=python3 \
  lmsysorg/sglang:v0.5.23 -m sglang.launch_server \
  --model-path /models/llama-3-70b \
  --served-model-name llama-3-70b \
  --tp-size 4 \
  --context-length 8192 \
  --max-running-requests 64 \
  --chunked-prefill-size 2048 \
  --page-size 16 \
  --dtype auto \
  --quantization fp8 \
  --kv-cache-dtype fp8_e4m3 \
  --disaggregation-mode prefill \
  --disaggregation-transfer-backend nixl \
  --disaggregation-bootstrap-port "${SIDE_PORT}" \
  --host "${BIND}" \
  --port "${PORT}"

#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool decode: llama-3-70b on sglang 0.5.23, 4 devices.
# Written by weft compile; flags as in sglang 0.5.23, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs a router that takes each prompt to prefill first, then to decode (prefill).
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
REPLICA=${REPLICA:-0}
: "${MODEL_DIR:?set it: the folder of the checkpoint of llama-3-70b}"
BIND=${BIND:-127.0.0.1}
PORT=${PORT:-$((8100 + REPLICA))}
SIDE_PORT=${SIDE_PORT:-$((5700 + REPLICA))}
exec docker run --rm \
  --gpus=all \
  --ipc=host \
  --net=host \
  --ulimit=memlock=-1 \
  --volume="${MODEL_DIR}":/models/llama-3-70b:ro \
  --entrypoint=python3 \
  lmsysorg/sglang:v0.5.23 -m sglang.launch_server \
  --model-path /models/llama-3-70b \
  --served-model-name llama-3-70b \
  --tp-size 4 \
  --context-length 8192 \
  --max-running-requests 64 \
  --chunked-prefill-size 2048 \
  --page-size 16 \
  --dtype auto \
  --quantization fp8 \
  --kv-cache-dtype fp8_e4m3 \
  --disaggregation-mode decode \
  --disaggregation-transfer-backend nixl \
  --disaggregation-bootstrap-port "${SIDE_PORT}" \
  --host "${BIND}" \
  --port "${PORT}"
