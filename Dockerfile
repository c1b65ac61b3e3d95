# syntax=docker/dockerfile:1
# Build: docker build -t clintune .      Run: docker run --gpus all -v "$PWD:/workspace" clintune train quickstart
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04 AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3.12 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3.12-venv
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY configs configs
COPY recipes recipes
RUN python3.12 -m venv /opt/clintune \
    && /opt/clintune/bin/pip install --no-cache-dir --constraint constraints.txt ".[bundled,slurm,dicom,wfdb,wandb,tensorboard]"

FROM base
RUN useradd --create-home clintune && install -d -o clintune /workspace
COPY --from=build /opt/clintune /opt/clintune
ENV PATH=/opt/clintune/bin:$PATH PYTHONUNBUFFERED=1 CLINTUNE_CACHE=/workspace/.cache
USER clintune
WORKDIR /workspace
ENTRYPOINT ["clintune"]
