#!/usr/bin/env bash
# Measure the ensemble with NVIDIA's perf_analyzer, in the SDK image: requests/s and latency for each file of requests.
#
# URL             gRPC address of the server (sifigan:8001)
# MODEL           ensemble to measure (sifigan)
# INPUTS          names of files in DATA, without .json (short frames-627)
# CONCURRENCIES   numbers of requests in flight (1 2 4)
# DATA            folder of the requests (/data)
# Arguments go to perf_analyzer.
set -euo pipefail

read -ra inputs <<<"${INPUTS:-short frames-627}"
read -ra concurrencies <<<"${CONCURRENCIES:-1 2 4}"
for input in "${inputs[@]}"; do
    for concurrency in "${concurrencies[@]}"; do
        echo "== ${MODEL:-sifigan}, ${input}.json, concurrency ${concurrency}"
        status=0
        "${PERF_ANALYZER:-perf_analyzer}" -m "${MODEL:-sifigan}" -u "${URL:-sifigan:8001}" -i grpc \
            --input-data "${DATA:-/data}/${input}.json" --concurrency-range "${concurrency}" --percentile 95 \
            --measurement-mode count_windows --measurement-request-count "${REQUESTS:-50}" -s 25 -r 10 "$@" || status=$?
        if ((status == 2)); then
            echo "measure.sh: not stable: the windows differ by more than 25 %" >&2
        elif ((status != 0)); then
            exit "${status}"
        fi
    done
done
