# ubr-score: docker build -f containers/scorer.Dockerfile -t ubr-score .
# The first stage holds the toolkit, which exports the released weights; the second takes the wheel.
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir -c constraints.txt \
      --extra-index-url https://download.pytorch.org/whl/cpu -e ".[onnx]" setuptools \
 && pip wheel --no-cache-dir --no-build-isolation --no-deps -w /wheels ./scorer

FROM python:3.11-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --find-links /wheels "ubr-score[compressed]" \
 && rm -r /wheels
USER 65534:65534
WORKDIR /tmp
ENTRYPOINT ["ubr-score"]
CMD ["--help"]
