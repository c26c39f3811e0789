# A stand-in for the official image of PostgreSQL, where no registry of images can be reached.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql && rm -rf /var/lib/apt/lists/*
COPY database.sh /database.sh
USER postgres
ENTRYPOINT ["/database.sh"]
