#!/bin/sh
# Reads secrets from files, then runs a command of the image: `segpipe` may be left out before its subcommands.
#
# For every variable NAME_FILE of the list below, NAME becomes what that file holds: so no secret stands in
# compose.yaml, in the image, or in what `docker inspect` prints.
set -eu

for name in PREFECT_API_AUTH_STRING PREFECT_SERVER_API_AUTH_STRING PREFECT_SERVER_DATABASE_PASSWORD \
    AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
    eval "file=\${${name}_FILE:-}"
    if [ -n "$file" ]; then
        if [ ! -r "$file" ]; then
            echo "${name}_FILE: $file cannot be read; mount the secret there, readable for user $(id -u)" >&2
            exit 4
        fi
        export "$name=$(cat "$file")"
    fi
done

mkdir -p "$TMPDIR" "$NUMBA_CACHE_DIR" "$PREFECT_HOME" "$DASK_TEMPORARY_DIRECTORY"

case "${1:-}" in
    segpipe | dask | prefect | python | python3 | sh) exec "$@" ;;
    *) exec segpipe "$@" ;;
esac
