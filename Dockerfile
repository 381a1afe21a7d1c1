# The edge install: onnxruntime for processors, no torch.
#   docker build -t inspector .
#   docker run --rm --network none -v "$PWD:/data" inspector predict model.onnx photo.jpg
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY models/NOTICE models/NOTICE
COPY inspector inspector
COPY exporters exporters
RUN python -m venv /opt/inspector && /opt/inspector/bin/pip install --no-cache-dir ".[cpu]"

FROM python:3.13-slim
COPY --from=build /opt/inspector /opt/inspector
ENV PATH=/opt/inspector/bin:$PATH
USER 65534:65534
WORKDIR /data
ENTRYPOINT ["inspector"]
CMD ["--help"]
