# The example application, and the proxy in front of its two nodes. `docker compose up` builds both.
FROM python:3.11-slim AS application
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /app
RUN useradd --create-home app && mkdir /data && chown app /data
# Dependencies first: they change less often than the code.
COPY pyproject.toml constraints.txt README.md LICENSE pytest_qrsocket.py ./
RUN mkdir qrsocket && touch qrsocket/__init__.py \
    && pip install --constraint constraints.txt '.[all]' itsdangerous \
    && pip uninstall --yes qrsocket
COPY qrsocket qrsocket
RUN pip install --no-deps .
COPY api api
COPY worker worker
USER app

FROM python:3.11-slim AS proxy
RUN apt-get update && apt-get install --yes --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
COPY deploy/haproxy.cfg /etc/haproxy/haproxy.cfg
USER haproxy
CMD ["haproxy", "-W", "-f", "/etc/haproxy/haproxy.cfg"]
