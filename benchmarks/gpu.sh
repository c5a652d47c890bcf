#!/usr/bin/env bash
# Every figure of an NVIDIA GPU: the bare engines, then the served ensembles.
#
#   benchmarks/gpu.sh [--device cpu] [--channels N]
#
# Results: $OUT (default build/gpu): engines.{json,md}, served.md, benchmark.{json,md,png} (concurrency 1, 4, 16 and 64).
# PYTHON is the Python to use (default python3, with torch, numpy, safetensors and onnx). What is not installed is left
# out, and said. `--device cpu --channels 64` tries the script itself in some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
out=${OUT:-build/gpu}
device=cuda
channels=512
while [ $# -gt 0 ]; do
    case $1 in
        --device) device=$2 ;;
        --channels) channels=$2 ;;
        *) echo "gpu.sh: unknown option $1; usage: gpu.sh [--device cuda|cpu] [--channels N]" >&2; exit 2 ;;
    esac
    shift 2
done

engine_args=()
served_args=()
if [ "$device" = cpu ]; then
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
    engine_args=(--rounds 1 --batches 1 2 --window 128 --f0-floor 80)
    served_args=(--frames 100 --concurrency 1 4 --requests 3 --rounds 2 --utilization 0.5)
elif ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu.sh: torch of $python sees no NVIDIA GPU: use one with CUDA, or try the script with --device cpu" >&2
    exit 1
fi

mkdir -p "$out"
echo "== bare engines"
"$python" -m benchmarks.gpu_engines --device "$device" --channels "$channels" --output "$out" "${engine_args[@]}"

missing=$("$python" - <<'PYTHON'
from importlib.util import find_spec
print(*[name for name in ("pytriton", "tritonclient", "onnx", "onnxruntime") if find_spec(name) is None])
PYTHON
)
if [ -n "$missing" ]; then
    echo "== served ensembles: left out, $python lacks $missing" | tee "$out/served.md"
else
    echo "== served ensembles"
    "$python" -m benchmarks.gpu_served --channels "$channels" --output "$out" "${served_args[@]}"
fi
