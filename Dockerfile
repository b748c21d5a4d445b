# Images of the server:
#
#   docker build --target cpu -t genir:cpu .    with the embedded model, runs anywhere
#   docker build --target gpu -t genir:gpu .    on the vLLM project's image; name a model: --model NAME
#
# The server listens on every address of the container. It therefore needs TLS and authentication
# (GENIR_TLS_CERT, GENIR_TLS_KEY, GENIR_AUTH_FILE) or, where only trusted peers can reach it,
# GENIR_ALLOW_INSECURE=1.
#
# deploy/kubernetes uses native gRPC probes, so the image has no program for probes.

# Any image with Python 3.11 or newer and pip. Every stage but gpu uses it.
ARG BASE=python:3.11-slim
# The vLLM project's image, or a mirror of it. Its version is the one that requirements/cpu.txt pins.
ARG GPU_BASE=vllm/vllm-openai:v0.32.0

# The base of the image for CPUs. Nothing is built in it.
FROM ${BASE} AS runtime
# vLLM's kernels need libnuma, which Python's slim images do not have.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent genir \
    && install -d -o genir -g genir /models
# The volume has the models of --model and vLLM's cache. The embedded model is outside of it, so that
# an empty volume does not hide it.
ENV PATH=/opt/genir/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/models \
    HF_HOME=/models/huggingface \
    VLLM_CACHE_ROOT=/models/vllm \
    GENIR_CACHE_DIR=/opt/genir/models \
    GENIR_HOST=0.0.0.0 \
    GENIR_PORT=50051
VOLUME /models
WORKDIR /models
EXPOSE 50051
STOPSIGNAL SIGTERM
ENTRYPOINT ["genir", "serve"]

# pip installs into /opt/genir from outside, so the result contains no pip.
FROM ${BASE} AS build
RUN python -m venv --without-pip /opt/genir
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

FROM build AS build-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip --python /opt/genir/bin/python install --no-cache-dir --no-deps \
        --index-url "${TORCH_INDEX}" torch==2.13.0+cpu
COPY requirements/cpu.txt requirements/cpu.txt
RUN pip --python /opt/genir/bin/python install --no-cache-dir --no-deps --require-hashes \
        --requirement requirements/cpu.txt
COPY pyproject.toml README.md LICENSE ./
COPY clients clients
COPY service service
RUN pip --python /opt/genir/bin/python install --no-cache-dir --no-deps --no-build-isolation . \
    && pip --python /opt/genir/bin/python uninstall --yes hatchling editables \
    && VLLM_TARGET_DEVICE=cpu /opt/genir/bin/python -m genir_server.engine.embedded_model \
        /opt/genir/models

FROM build AS build-wheel
COPY pyproject.toml README.md LICENSE ./
COPY clients clients
COPY service service
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# vLLM, torch, CUDA, and the compilers that FlashInfer and Triton call while the model runs are in the
# base. Added is what the server needs besides, in the versions that the tests run with. The base's own
# packages may change only if none of its requirements breaks.
# hadolint ignore=DL3006
FROM ${GPU_BASE} AS gpu
USER 0
COPY requirements/server.txt /tmp/genir/server.txt
COPY --from=build-wheel /wheels /tmp/genir/wheels
RUN { python3 -m pip check || echo "No broken requirements found."; } > /tmp/genir/before \
    && python3 -m pip install --no-cache-dir --no-deps --require-hashes --requirement /tmp/genir/server.txt \
    && python3 -m pip install --no-cache-dir --no-deps /tmp/genir/wheels/*.whl \
    && { python3 -m pip check > /tmp/genir/after || true; } \
    && ! grep -vxFf /tmp/genir/before /tmp/genir/after \
    && genir --help > /dev/null \
    && rm -rf /tmp/genir
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent genir \
    && install -d -o genir -g genir /cache
# /cache holds what vLLM, Triton and FlashInfer compile, and downloads. Mount a local disk there.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HOME=/cache \
    XDG_CACHE_HOME=/cache \
    HF_HOME=/cache/huggingface \
    VLLM_CACHE_ROOT=/cache/vllm \
    TRITON_CACHE_DIR=/cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/cache/torchinductor \
    FLASHINFER_WORKSPACE_BASE=/cache \
    CUDA_CACHE_PATH=/cache/cuda \
    GENIR_HOST=0.0.0.0 \
    GENIR_PORT=50051
WORKDIR /cache
EXPOSE 50051
STOPSIGNAL SIGTERM
ENTRYPOINT ["genir", "serve"]
USER 10001:10001

FROM runtime AS cpu
COPY --from=build-cpu /opt/genir /opt/genir
USER 10001:10001
