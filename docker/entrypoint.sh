#!/usr/bin/env bash
# Start-up of the serving container: choose the repository and its models, check the plans, then become tritonserver.
#
# SIFIGAN_MODELS   models to load, separated by spaces, with what they are composed of (all that are built)
# SIFIGAN_GPU      yes: stop when there is no GPU; no: leave the models out that need one (whatever nvidia-smi finds)
# SIFIGAN_BUILT    repository that the service `build` wrote, served when it holds models (/models/repository)
# SIFIGAN_BAKED    repository that came with the image (/opt/sifigan/models)
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

read -ra wanted <<<"${SIFIGAN_MODELS:-}"
chosen=$(python3 "${here}/select_models.py" --gpu "${gpu}" "${repository}" "${wanted[@]}")
mapfile -t models <<<"${chosen}"

if [[ ${gpu} == yes ]] && compgen -G "${repository}/*/1/model.plan" >/dev/null; then
    PYTHONPATH=$(dirname "${here}") python3 -m sifigan_triton.build.tensorrt.manifest "${repository}" >&2
fi

echo "serving ${repository}: ${models[*]}" >&2
exec "${TRITONSERVER:-tritonserver}" --model-repository="${repository}" \
    --model-control-mode=explicit "${models[@]/#/--load-model=}" \
    --backend-config=python,shm-default-byte-size=8388608 \
    --disable-auto-complete-config --strict-readiness=true --exit-timeout-secs=20 "$@"
