# ubr-pretrain: docker build -f containers/toolkit.Dockerfile -t ubr-pretrain .
# For GPUs leave TORCH empty: --build-arg TORCH=, then run with --gpus all.
FROM python:3.11-slim
ARG TORCH="--extra-index-url https://download.pytorch.org/whl/cpu"
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c constraints.txt ${TORCH} ".[fast,itk,onnx]" \
 && rm -r /src/*
USER 65534:65534
WORKDIR /tmp
ENV HOME=/tmp MPLCONFIGDIR=/tmp
ENTRYPOINT ["ubr-pretrain"]
CMD ["--help"]
