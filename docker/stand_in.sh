#!/usr/bin/env bash
# Make what `FROM debian:bookworm-slim` names, where no registry can be reached: Debian's packages by debootstrap, without
# documentation as in that image. Needs root, debootstrap and podman. Usage: stand_in.sh [NAME]
set -euo pipefail

name=${1:-docker.io/library/debian:bookworm-slim}
folder=$(mktemp -d)
trap 'rm -rf "${folder}"' EXIT
debootstrap --variant=minbase bookworm "${folder}" >"${folder}.log" 2>&1 || { tail -n 20 "${folder}.log" >&2 && exit 1; }
rm "${folder}.log"
cat >"${folder}/etc/dpkg/dpkg.cfg.d/docker" <<'SLIM'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/groff/*
path-exclude /usr/share/info/*
path-exclude /usr/share/linda/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
SLIM
find "${folder}/usr/share/doc" -type f ! -name copyright -delete
find "${folder}/usr/share/doc" -depth -type d -empty -delete
rm -rf "${folder}"/usr/share/{groff,info,linda,lintian,locale,man}/* "${folder}"/var/{cache/apt,lib/apt/lists,log}/*
mkdir -p "${folder}"/var/{cache/apt,lib/apt/lists}/partial
tar --directory "${folder}" --create --one-file-system . | podman import --change 'CMD ["bash"]' - "${name}"
