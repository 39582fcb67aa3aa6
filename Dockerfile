# Photos are mounted at /inference/data, results and archives at /inference/submission; see docs/how-to/container.md.
# Any builder of the last years will do: no `# syntax=` line, no heredoc, no BuildKit-only option.
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG FLAVOUR=cpu

# --- 1. what the wheels expect of the system -------------------------------------------------------------------
FROM ${BASE_IMAGE} AS system
# For the stages to come; the last one has another user.
# hadolint ignore=DL3002
USER 0:0
# LightGBM's wheel brings everything but OpenMP. A base that has it needs no package index.
# The release of Debian decides about its version:
# hadolint ignore=DL3008
RUN test -e /usr/lib/x86_64-linux-gnu/libgomp.so.1 \
 || { apt-get update && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin; }

# --- 2. the locked packages of a flavour, in a virtual environment -----------------------------------------------
FROM system AS packages
# cpu predicts with OpenVINO; train adds TensorFlow, cluster adds Ray; gpu is TensorFlow for NVIDIA GPUs.
ARG FLAVOUR
# Such as --no-index --find-links=/requirements/wheels: `docker build --network none`.
ARG PIP_ARGS=""
COPY requirements /requirements
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes ${PIP_ARGS} \
    -r "/requirements/${FLAVOUR}.txt" \
 && /opt/venv/bin/pip check \
 && rm -rf /opt/venv/lib/python3*/site-packages/tensorflow/include
# TensorFlow's headers (190 MB) are for compiling operations of one's own.

# --- 3. the program beside the environment, not in it: entrants' programs run without it --------------------------
FROM packages AS program
COPY pyproject.toml README.md LICENSE hakuna.py /source/
COPY inference /source/inference
COPY models /source/models
COPY benchmark /source/benchmark
COPY container/hakuna /source/launcher
RUN /opt/venv/bin/pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation \
    --no-compile --target /opt/hakuna /source \
 && install -D -m 755 /source/launcher /opt/hakuna/bin/hakuna \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/hakuna \
 && chmod -R a+rX,go-w /opt/hakuna

# --- 4. what runs ----------------------------------------------------------------------------------------------
FROM system AS runtime
ENV PATH=/opt/hakuna/bin:/opt/venv/bin:$PATH \
    HOME=/scratch \
    TMPDIR=/scratch \
    XDG_CACHE_HOME=/cache \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HAKUNA_DEMO_BUNDLE=/opt/hakuna/models/demo/bundle \
    HAKUNA_SCRATCH=/scratch \
    HAKUNA_RUNNER=process \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Whatever user the container runs as may unpack an archive here, on disk, even if the root file system is read-only.
# A volume at /cache remembers which bundles have passed their checks; without one, every container checks anew.
RUN install -d -m 1777 /inference /scratch /cache
COPY --from=packages /opt/venv /opt/venv
COPY --from=program /opt/hakuna /opt/hakuna
ARG FLAVOUR
COPY LICENSE THIRD_PARTY.md requirements/${FLAVOUR}.cdx.json /opt/hakuna/
VOLUME ["/inference", "/scratch"]
WORKDIR /inference
USER 1000:1000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["hakuna", "health"]
ENTRYPOINT ["hakuna"]
CMD ["entrypoint"]
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Hakuna Runtime (${FLAVOUR})" \
      org.opencontainers.image.description="Batch inference for camera-trap photos" \
      org.opencontainers.image.licenses="MIT" \
      hakuna.sbom="/opt/hakuna/${FLAVOUR}.cdx.json" \
      hakuna.third-party="/opt/hakuna/THIRD_PARTY.md" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# --- 5. the device of a flavour: the gpu image ends with 10 where no GPU can be used -----------------------------
FROM runtime AS device-cpu
FROM runtime AS device-train
FROM runtime AS device-cluster
FROM runtime AS device-gpu
ENV HAKUNA_DEVICE=gpu
# docs/how-to/gpu.md lists the oldest driver for each kind of GPU.
LABEL hakuna.cuda="12.5" \
      hakuna.driver="525.60.13"
# hadolint ignore=DL3006
FROM device-${FLAVOUR}
