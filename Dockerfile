# feedwatch as a container; docs/install.md says how to run it.
# The digest is that of all architectures; dependabot raises it (.github/dependabot.yml).
FROM python:3.13-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8 AS base

FROM base AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements requirements
# notify: what FEEDWATCH_NOTIFY_APPRISE_URLS needs. What PostgreSQL needs is always there.
ARG EXTRAS=
RUN python -m venv /opt/feedwatch \
    && /opt/feedwatch/bin/pip install --require-hashes -r requirements/postgres.txt \
       ${EXTRAS:+-r "requirements/${EXTRAS}.txt"} \
    && python -m pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY feedwatch feedwatch
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/feedwatch/bin/pip install --no-deps dist/*.whl \
    && /opt/feedwatch/bin/pip check \
    && /opt/feedwatch/bin/pip uninstall --yes --quiet pip

FROM base
# `make image` gives both; feedwatch/__init__.py is the one place that states a version.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="feedwatch" \
      org.opencontainers.image.description="Watches podcast feeds and has each new episode processed by a media API, exactly once." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The numbers are fixed: the config and the secret on the host are made readable to them.
RUN groupadd --gid 10001 feedwatch \
    && useradd --no-log-init --uid 10001 --gid feedwatch --no-create-home --home-dir /var/lib/feedwatch \
       --shell /usr/sbin/nologin feedwatch \
    && install -d -m 0700 -o feedwatch -g feedwatch /var/lib/feedwatch /var/cache/feedwatch
COPY --from=build /opt/feedwatch /opt/feedwatch
ENV PATH=/opt/feedwatch/bin:$PATH
# A journal of claims is kept there: a volume of its own outlives the loss of the database's.
ENV CACHE_DIRECTORY=/var/cache/feedwatch
USER 10001:10001
WORKDIR /var/lib/feedwatch
VOLUME ["/var/lib/feedwatch", "/var/cache/feedwatch"]
STOPSIGNAL SIGTERM
# It asks the database; its own patience is in docs/monitoring.md. Give another config by
# FEEDWATCH_CONFIG, so that this finds it, too.
HEALTHCHECK --interval=30s --timeout=10s --start-period=1m --retries=2 CMD ["feedwatch", "healthcheck"]
ENTRYPOINT ["feedwatch"]
CMD ["run"]
