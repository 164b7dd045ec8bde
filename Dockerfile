# tubepost in one container: the master is the first process.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && id=925 && for name in tubepost tubepost-net tubepost-mail tubepost-auth; do \
         groupadd --system --gid $id $name && useradd --system --uid $id --gid $name --home-dir /srv/tubepost \
           --no-create-home --shell /usr/sbin/nologin $name && id=$((id + 1)) || exit 1; done
WORKDIR /usr/src/tubepost
COPY . .
RUN python3 -m venv /opt/tubepost \
    && /opt/tubepost/bin/pip install --no-cache-dir . \
    && for name in tubepost sendmail mailq newaliases postqueue postsuper postcat postconf postmap postalias postlog \
         postdrop; do ln -s /opt/tubepost/bin/$name /usr/local/sbin/$name; done
ENV MAIL_CONFIG=/srv/tubepost/conf
EXPOSE 25 587 465 143 993 110 995
VOLUME ["/srv/tubepost/conf", "/srv/tubepost/spool", "/srv/tubepost/data", "/srv/tubepost/mail", "/srv/tubepost/auth"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s CMD ["tubepost", "status"]
ENTRYPOINT ["/bin/sh", "/usr/src/tubepost/conf/container-start"]
