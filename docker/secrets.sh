#!/bin/sh
# Makes the passwords of compose.yaml in docker/secrets/, each once; what is there already stays.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets

secret() { python3 -c "import secrets; print(secrets.token_urlsafe(24), end='')"; }
keep() { [ -e "secrets/$1" ] || printf '%s' "$2" > "secrets/$1"; }

keep database_password "$(secret)"
keep prefect_login "segpipe:$(secret)"
keep store_user segpipe
keep store_password "$(secret)"
# The user of the image reads them; the folder itself is closed to everybody but its owner.
chmod 644 secrets/*
