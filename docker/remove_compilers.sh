#!/usr/bin/env bash
# Remove the compilers that NVIDIA's image has: nothing that serves needs them. A step of the Dockerfile.
set -euo pipefail

packages=$(dpkg-query --show --showformat='${Package}\n' |
    grep -E '^(clang|gcc|g\+\+|cpp|llvm|cmake|make)(-[0-9.]+)?(-x86-64-linux-gnu)?$|^build-essential$' || true)
if [[ -n ${packages} ]]; then
    mapfile -t names <<<"${packages}"
    apt-get purge --yes "${names[@]}"
fi
left=$(compgen -c | grep -E '^(x86_64-linux-gnu-)?(cc|c\+\+|gcc|g\+\+|clang|clang\+\+)(-[0-9.]+)?$' || true)
if [[ -n ${left} ]]; then
    echo "remove_compilers.sh: ${left//$'\n'/, } is still there: name its package in this script" >&2
    exit 1
fi
