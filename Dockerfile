# The images of LoRAForge itself: `control` (web, workers, relay, ingest, beat, Flower) and `nodeagent`.
#   make images                                     anywhere, with this machine's pip settings
#   docker build --target control --tag loraforge/control .       after `make setup-tools`
# static/dist and the compiled translations are taken from the working tree, where make puts them.
# BASE needs Python 3.11 with venv. No BuildKit features, since Debian's engine has none.

ARG BASE=python:3.11-slim

FROM ${BASE} AS control-packages
# Where tools/images.py offers the builder's own pip settings while it builds; empty = none.
ARG PIP_SETTINGS=
COPY images/packages.sh requirements/control.txt /build/
RUN sh /build/packages.sh /opt/loraforge /build/control.txt

FROM ${BASE} AS nodeagent-packages
ARG PIP_SETTINGS=
COPY images/packages.sh requirements/nodeagent.txt /build/
RUN sh /build/packages.sh /opt/loraforge /build/nodeagent.txt

FROM ${BASE} AS nodeagent
COPY --from=nodeagent-packages /opt/loraforge /opt/loraforge
COPY nodeagent /app/nodeagent
ENV PATH=/opt/loraforge/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
WORKDIR /app
# Root on purpose: it gives each job's folder to the job's user (10001), and whoever may use the engine's
# socket is root anyway. What jobs run as is another matter: see docs/threat-model.md.
CMD ["python", "-m", "nodeagent"]
LABEL org.opencontainers.image.title="LoRAForge node agent"

FROM ${BASE} AS control
RUN groupadd --gid 10000 loraforge \
    && useradd --uid 10000 --gid 10000 --no-create-home --home-dir /data --shell /usr/sbin/nologin loraforge \
    && mkdir -m 700 /data && chown loraforge:loraforge /data
COPY --from=control-packages /opt/loraforge /opt/loraforge
COPY manage.py /app/
COPY locale /app/locale
COPY templates /app/templates
COPY static /app/static
COPY nodeagent /app/nodeagent
COPY loraforge /app/loraforge
ENV PATH=/opt/loraforge/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8 \
    LORAFORGE_DATA=/data LORAFORGE_STATIC_ROOT=/app/staticfiles
WORKDIR /app
# What is compiled and collected now need not be at every start; the root may be read-only then.
RUN test -d static/dist && ls locale/*/LC_MESSAGES/django.mo \
    && python -m compileall -q -j 0 /app/loraforge /app/nodeagent \
    && LORAFORGE_DATA=/tmp/collect DJANGO_SETTINGS_MODULE=loraforge.settings.base \
       python manage.py collectstatic --no-input --verbosity 0 \
    && rm -rf /tmp/collect
ENV DJANGO_SETTINGS_MODULE=loraforge.settings.prod
USER 10000:10000
VOLUME /data
EXPOSE 8000
# One worker a container: more by `docker compose up --scale web=N`. Behind a proxy that speaks TLS.
CMD ["uvicorn", "loraforge.asgi:application", "--host", "0.0.0.0", "--port", "8000", \
     "--ws", "websockets-sansio", "--ws-per-message-deflate", "false", "--ws-max-size", "65536", \
     "--no-server-header", "--no-access-log", "--timeout-graceful-shutdown", "5", \
     "--proxy-headers", "--forwarded-allow-ips", "*"]
LABEL org.opencontainers.image.title="LoRAForge control plane"
