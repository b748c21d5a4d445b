# Images of the server:
#
#   docker build --target cpu -t genir:cpu .    with the embedded model, runs anywhere
#   docker build --target gpu -t genir:gpu .    with vLLM's CUDA build; name a model: --model NAME
#
# They listen on every address of the container, and so start only with TLS and authentication
# (GENIR_TLS_CERT, GENIR_TLS_KEY, GENIR_AUTH_FILE) or, where only trusted peers reach them, with
# GENIR_ALLOW_INSECURE=1.
#
# deploy/kubernetes runs them, with native gRPC probes, so that no program for them is in the image.

# Any image with Python 3.11 or newer and pip, the same for every stage.
ARG BASE=python:3.11-slim

# What both images have in common. Nothing is built from here on.
FROM ${BASE} AS runtime
# vLLM's kernels are linked with libnuma, which Python's slim images lack.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent genir \
    && install -d -o genir -g genir /models
# Models named by --model, and what vLLM keeps, are on the volume; the embedded model is not, so
# that an empty volume does not hide it.
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

# pip installs into /opt/genir from outside, which leaves no pip in there.
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

FROM build AS build-gpu
COPY pyproject.toml README.md LICENSE ./
COPY clients clients
COPY service service
# hadolint ignore=DL3013
RUN pip --python /opt/genir/bin/python install --no-cache-dir ".[gpu]"

FROM runtime AS gpu
# Not for building: Triton compiles the launchers of its kernels while the model runs.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-gpu /opt/genir /opt/genir
USER 10001:10001

FROM runtime AS cpu
COPY --from=build-cpu /opt/genir /opt/genir
USER 10001:10001
