#!/usr/bin/env bash
# Remove the compilers that NVIDIA's image has: nothing that serves needs them. A step of the Dockerfile.
set -euo pipefail

packages=$(dpkg-query --show --showformat='${Package}\n' |
    grep -E '^(clang|gcc|g\+\+|cpp|llvm|cmake|make)(-[0-9.]+)?$|^build-essential$' || true)
if [[ -n ${packages} ]]; then
    mapfile -t names <<<"${packages}"
    apt-get purge --yes "${names[@]}"
fi
for program in cc gcc g++ c++ clang clang++; do
    if path=$(command -v "${program}"); then
        echo "remove_compilers.sh: ${path} is still there: name its package in this script" >&2
        exit 1
    fi
done
