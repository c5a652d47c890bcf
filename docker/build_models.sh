#!/usr/bin/env bash
# Build engines and the model repository for the image.
#
# VOICE            folder of the voice (voices/demo; voices/random is made when it is not there)
# ENGINES          engines to build, separated by spaces
# DEFAULT_ENGINE   engine behind the ensemble `sifigan` (the last of ENGINES)
# OUTPUT           model repository to write (/models/repository)
# PLATFORM         what serves: container (NVIDIA's image, the default) or wheel (docker/cpu.Dockerfile)
# BUILD_ARGS       further options of build_engines.py, as this script's own arguments are
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python}
voice=${VOICE:-voices/demo}
read -ra engines <<<"${ENGINES:-onnx-fp32 pt-fp32 openvino-fp32}"
read -ra more <<<"${BUILD_ARGS:-}"

if [[ ! -e ${voice}/voice.json ]]; then
    if [[ ${voice} != voices/random ]]; then
        echo "build_models.sh: there is no voice in ${voice}, expected ${voice}/voice.json: make one with" \
            "\`sifigan-triton import\`, or leave VOICE out" >&2
        exit 1
    fi
    "${python}" -m sifigan_triton random-voice --output "${voice}"
fi

options=(--platform "${PLATFORM:-container}" --voice "${voice}" --output "${OUTPUT:-/models/repository}")
for engine in "${engines[@]}"; do
    options+=(--engine "${engine}")
done
if [[ -n ${DEFAULT_ENGINE:-} ]]; then
    options+=(--default-engine "${DEFAULT_ENGINE}")
fi
exec "${python}" build_engines.py "${options[@]}" "${more[@]}" "$@"
