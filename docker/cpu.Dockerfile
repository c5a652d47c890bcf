# The image for the CPU: Triton's server of the wheel nvidia-pytriton, OpenVINO and the models, some 0.5 GB.
# docs/howto/deploy.md explains it; benchmarks/image.py builds and tries it.
#
#   python      Debian, its Python, and tini: what the other two stand on
#   toolchain   the pinned packages, the project: builds the engines, and the environment that serves
#   serve       that environment, the models, what starts and watches them; no pip, no compiler, no root

# Debian's own Python 3.11 is the one that the tests run with. To pin it: BASE=debian:bookworm-slim@sha256:...
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS python
# Debian keeps one version of each package in a release, the mended one: a pin would stop the build at the next hole.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libpython3.11 python3 tini \
    && rm -rf /var/lib/apt/lists/*

FROM python AS toolchain
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
ARG PYTHON_VERSION=3.11
ARG UV_VERSION=0.13.9
# The build of PyTorch that builds engines; empty: what the package index has.
ARG TORCH_BACKEND=cpu
ARG ENGINES=openvino-fp32
ENV VIRTUAL_ENV=/opt/build \
    PATH=/opt/build/bin:${PATH} \
    PIP_BREAK_SYSTEM_PACKAGES=1 \
    PIP_ROOT_USER_ACTION=ignore \
    HOME=/tmp
WORKDIR /opt/sifigan
COPY docker/install_toolchain.sh docker/
COPY pyproject.toml requirements.lock requirements-nodeps.lock ./
RUN docker/install_toolchain.sh
COPY docker/install_serving.sh docker/
RUN docker/install_serving.sh /opt/venv
COPY . .
ARG VOICE=voices/demo
ARG DEFAULT_ENGINE=
ARG BUILD_ARGS=
# Compiled, as a read-only container keeps nothing that Python compiles.
RUN PLATFORM=wheel docker/build_models.sh \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /models/repository

FROM python AS serve
COPY --from=toolchain /opt/venv /opt/venv
COPY --from=toolchain /opt/sifigan/sbom.json /opt/sifigan/sbom-build.json
COPY --from=toolchain /models/repository /opt/sifigan/models
COPY sifigan_triton/__init__.py /opt/sifigan/sifigan_triton/
COPY sifigan_triton/repository/__init__.py sifigan_triton/repository/servable.py \
    sifigan_triton/repository/tensorrt_plan.py sifigan_triton/repository/voice_names.py /opt/sifigan/sifigan_triton/repository/
COPY sifigan_triton/server /opt/sifigan/sifigan_triton/server
COPY sifigan_triton/store /opt/sifigan/sifigan_triton/store
COPY LICENSE NOTICE /opt/sifigan/
COPY docker/make_sbom.py /opt/sifigan/docker/
ENV PATH=/opt/venv/bin:${PATH} \
    PYTHONPATH=/opt/sifigan
RUN python3 /opt/sifigan/docker/make_sbom.py /opt/sifigan/sbom.json \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/sifigan/sifigan_triton \
    && install -d -o 1000 -g 1000 /models
USER 1000:1000
EXPOSE 8000 8001 8002
# An inference, not /v2/health/ready: it tells that audio comes out.
HEALTHCHECK --interval=60s --timeout=30s --start-period=180s --retries=3 \
    CMD ["sh", "-c", "exec python3 /opt/sifigan/sifigan_triton/server/health.py --url localhost:${HTTP_PORT:-8000}"]
# tini collects what a server that was ended leaves behind, also where it is not the first process (-s).
ENTRYPOINT ["tini", "-s", "--", "python3", "-m", "sifigan_triton.server"]
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="sifigan-triton" \
    org.opencontainers.image.description="SiFi-GAN neural vocoder on NVIDIA Triton, for the CPU" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="${BASE}"
