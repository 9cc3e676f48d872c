# One node of gearmesh. `docker run gearmesh` is a Gearman server with a durable queue; several nodes with one secret
# are a cluster (docs/containers.md). It builds with any builder: no BuildKit syntax is needed.

FROM python:3.13-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/gearmesh
# The libraries change less often than the code: they are a layer of their own, and need nothing but their list.
COPY pyproject.toml ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      >requirements.txt \
    && /opt/gearmesh/bin/pip install --no-cache-dir --only-binary :all: --requirement requirements.txt
COPY README.md LICENSE ./
COPY protocol protocol
COPY cluster cluster
COPY node node
RUN /opt/gearmesh/bin/pip wheel --no-cache-dir --no-deps --wheel-dir dist . \
    && /opt/gearmesh/bin/pip install --no-cache-dir --no-deps dist/*.whl \
    && /opt/gearmesh/bin/pip uninstall --yes pip


FROM python:3.13-slim

LABEL org.opencontainers.image.title="gearmesh" \
      org.opencontainers.image.description="A Gearman job server that is a cluster" \
      org.opencontainers.image.licenses="MIT"

# The numbers are what the chart's security context and the owners of volumes refer to.
RUN groupadd --gid 10001 gearmesh \
    && useradd --uid 10001 --gid gearmesh --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin gearmesh \
    && install --directory --owner gearmesh --group gearmesh --mode 0700 /var/lib/gearmesh
COPY --from=build /opt/gearmesh /opt/gearmesh

# A container is reached from outside it, so the site listens on every address, as Gearman does.
ENV PATH=/opt/gearmesh/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    GEARMESH_DATA_DIR=/var/lib/gearmesh \
    GEARMESH_HTTP=0.0.0.0:4780

USER 10001:10001
WORKDIR /var/lib/gearmesh
VOLUME /var/lib/gearmesh
# Gearman, the mesh between nodes, the HTTP site
EXPOSE 4730 4731 4780
STOPSIGNAL SIGTERM
# Alive, not ready: what restarts containers by this would not mend a cluster that lacks nodes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["gearmesh", "healthcheck"]
ENTRYPOINT ["gearmesh"]
CMD ["serve"]
