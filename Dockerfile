# syntax=docker/dockerfile:1
# Build: docker build -t clintune .      Run: docker run --gpus all -v "$PWD:/work" clintune train quickstart
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY configs configs
COPY recipes recipes
RUN python -m venv /opt/clintune \
    && /opt/clintune/bin/pip install --no-cache-dir --constraint constraints.txt ".[bundled,dicom,wfdb,wandb,tensorboard]"

FROM nvidia/cuda:13.0.1-runtime-ubuntu22.04
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libexpat1 libffi8 libsqlite3-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 clintune
COPY --from=build /usr/local/lib/python3.11 /usr/local/lib/python3.11
COPY --from=build /usr/local/lib/libpython3.11.so.1.0 /usr/local/lib/
COPY --from=build /usr/local/bin/python3.11 /usr/local/bin/
RUN ln -s /usr/local/bin/python3.11 /usr/local/bin/python && ldconfig
COPY --from=build /opt/clintune /opt/clintune
ENV PATH=/opt/clintune/bin:$PATH PYTHONUNBUFFERED=1 CLINTUNE_CACHE=/work/.cache
USER clintune
WORKDIR /work
ENTRYPOINT ["clintune"]
