#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool serve-h100-sxm: llama-3-70b on tensorrt-llm 1.2.1, 4 devices.
# Written by weft compile; flags as in tensorrt-llm 1.2.1, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs weights in that checkpoint that are quantised to fp8: tensorrt-llm does not.
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
  --volume="$HERE"/serve-h100-sxm.yaml:/weft/engine.yaml:ro \
  --entrypoint=trtllm-serve \
  nvcr.io/nvidia/tensorrt-llm/release:1.2.1 /models/llama-3-70b \
  --backend pytorch \
  --tp_size 4 \
  --max_seq_len 8192 \
  --max_batch_size 64 \
  --max_num_tokens 2048 \
  --extra_llm_api_options /weft/engine.yaml \
  --host "${BIND}" \
  --port "${PORT}"

#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool prefill: llama-3-70b on tensorrt-llm 1.2.1, 4 devices.
# Written by weft compile; flags as in tensorrt-llm 1.2.1, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs weights in that checkpoint that are quantised to fp8: tensorrt-llm does not.
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
  --volume="$HERE"/prefill.yaml:/weft/engine.yaml:ro \
  --entrypoint=trtllm-serve \
  nvcr.io/nvidia/tensorrt-llm/release:1.2.1 /models/llama-3-70b \
  --backend pytorch \
  --tp_size 4 \
  --max_seq_len 8192 \
  --max_batch_size 64 \
  --max_num_tokens 2048 \
  --extra_llm_api_options /weft/engine.yaml \
  --host "${BIND}" \
  --port "${PORT}"

#!/bin/sh
# Replica $REPLICA (from 0 to 1) of pool decode: llama-3-70b on tensorrt-llm 1.2.1, 4 devices.
# Written by weft compile; flags as in tensorrt-llm 1.2.1, read 2026-11-21.
# Needs MODEL_DIR: a Hugging Face checkpoint of llama-3-70b.
# Needs weights in that checkpoint that are quantised to fp8: tensorrt-llm does not.
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
  --volume="$HERE"/decode.yaml:/weft/engine.yaml:ro \
  --entrypoint=trtllm-serve \
  nvcr.io/nvidia/tensorrt-llm/release:1.2.1 /models/llama-3-70b \
  --backend pytorch \
  --tp_size 4 \
  --max_seq_len 8192 \
  --max_batch_size 64 \
  --max_num_tokens 2048 \
  --extra_llm_api_options /weft/engine.yaml \
  --host "${BIND}" \
  --port "${PORT}"
