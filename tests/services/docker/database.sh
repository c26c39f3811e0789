#!/bin/sh
# A new cluster with the user, the database and the password that were asked for, as the official image makes it.
set -eu
programs=$(ls -d /usr/lib/postgresql/*/bin)
data=/tmp/data
if [ ! -e "$data" ]; then
    "$programs/initdb" -D "$data" -A scram-sha-256 -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" > /dev/null
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    "$programs/pg_ctl" -D "$data" -w -o "-c listen_addresses= -k /tmp" start > /dev/null
    PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") "$programs/createdb" -h /tmp -U "$POSTGRES_USER" "$POSTGRES_DB" || true
    "$programs/pg_ctl" -D "$data" -w stop > /dev/null
fi
exec "$programs/postgres" -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp,/var/run/postgresql
