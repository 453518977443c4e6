#!/usr/bin/env bash
# Makes the database at the first start, then is the server.
set -euo pipefail
data=/var/lib/postgresql/data
bin=$(echo /usr/lib/postgresql/*/bin)
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }

install -d -o postgres -g postgres -m 0700 "$data"
install -d -o postgres -g postgres /var/run/postgresql
cd "$data"
if [ ! -e PG_VERSION ]; then
    install -o postgres -m 0400 "$POSTGRES_PASSWORD_FILE" /tmp/password
    as_postgres "$bin/initdb" -D "$data" --encoding=UTF8 --locale=C.UTF-8 --username="$POSTGRES_USER" \
        --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 > /dev/null
    rm -f /tmp/password
    echo "host all all all scram-sha-256" >> pg_hba.conf
    [ "$POSTGRES_DB" = postgres ] ||
        as_postgres "$bin/postgres" --single -D "$data" postgres <<< "CREATE DATABASE $POSTGRES_DB" > /dev/null
fi
exec setpriv --reuid postgres --regid postgres --init-groups "$bin/postgres" -D "$data" -c "listen_addresses=*"
