# A stand-in for the S3-compatible store of compose.yaml: moto's server, at the address that it would have.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN python3 -m venv /opt/moto && /opt/moto/bin/pip install --quiet --no-cache-dir "moto[s3,server]==5.2.5"
ENTRYPOINT ["/opt/moto/bin/moto_server", "-H", "0.0.0.0", "-p", "9000"]
