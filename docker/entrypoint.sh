#!/usr/bin/env bash
# Start-up of the serving container: choose the repository and what of it can be served here, then become tritonserver.
#
# SIFIGAN_MODELS   models to load, separated by spaces, with what they are composed of (all that can be served)
# SIFIGAN_GPU      yes: stop when there is no GPU; no: leave the models out that need one (whatever nvidia-smi finds)
# SIFIGAN_BUILT    repository that the service `build` wrote, served when it holds models (/models/repository)
# SIFIGAN_BAKED    repository that came with the image (/opt/sifigan/models)
# SIFIGAN_CLIENT_SHARED_MEMORY   yes: clients may register shared memory, and then read and overwrite that of others (no)
# Arguments go to tritonserver.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=${SIFIGAN_BAKED:-/opt/sifigan/models}
built=${SIFIGAN_BUILT:-/models/repository}
if compgen -G "${built}/*/config.pbtxt" >/dev/null; then
    repository=${built}
fi

gpu=no
if command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus >/dev/null 2>&1; then
    gpu=yes
fi
if [[ ${SIFIGAN_GPU:-${gpu}} == yes && ${gpu} == no ]]; then
    echo "entrypoint.sh: SIFIGAN_GPU is yes, but nvidia-smi finds no GPU: run the container with --gpus (and NVIDIA's" \
        "container toolkit on the host), or serve on the CPU: docker compose --profile cpu up" >&2
    exit 1
fi
gpu=${SIFIGAN_GPU:-${gpu}}

# A folder of links to exactly what can be served: with control mode `none` the server loads that, and nothing later.
read -ra wanted <<<"${SIFIGAN_MODELS:-}"
links=${TMPDIR:-/tmp}/sifigan-models-$$
rm -rf "${links}"
models=$(PYTHONPATH=$(dirname "${here}") python3 -m sifigan_triton.repository.servable \
    --gpu "${gpu}" --links "${links}" "${repository}" "${wanted[@]}")

# Whoever reaches a port is a stranger: nobody learns this key, so nobody loads models, traces or changes the logging.
closed=model-repository,trace,logging
shared_memory=()
if [[ ${SIFIGAN_CLIENT_SHARED_MEMORY:-no} == yes ]]; then
    echo "entrypoint.sh: clients may register shared memory: whoever reaches the ports can take over the server" >&2
    help=$("${TRITONSERVER:-tritonserver}" --help 2>&1 || true) # exits with 1
    if [[ ${help} == *--allow-client-shm* ]]; then
        shared_memory=(--allow-client-shm=true) # of later releases, where it is off by default
    fi
else
    closed+=,shared-memory
fi
key=closed=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

echo "serving ${repository}: ${models//$'\n'/ }" >&2
exec "${TRITONSERVER:-tritonserver}" --model-repository="${links}" \
    --model-control-mode=none \
    --http-restricted-api="${closed}:${key}" --grpc-restricted-protocol="${closed}:${key}" "${shared_memory[@]}" \
    --backend-config=python,shm-default-byte-size=8388608 \
    --disable-auto-complete-config --strict-readiness=true --exit-timeout-secs=20 "$@"
