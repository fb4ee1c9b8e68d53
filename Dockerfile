# docker build -t ddad . && docker run -v "$PWD/reproduced:/ddad/reproduced" ddad
# With a GPU: docker run --gpus all ...; another command: docker run ddad ddad-run --benchmark NIH
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /ddad
COPY . .
RUN make install
ENV PATH=/ddad/.venv/bin:$PATH
CMD ["make", "reproduce"]
