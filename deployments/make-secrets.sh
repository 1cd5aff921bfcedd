#!/bin/sh
# Makes deployments/secrets: a password for PostgreSQL and the URL with it. What is there stays as it is.
# The folder is for its owner alone; the files in it can be read by whoever the containers run as.
set -eu

cd "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)"
umask 077
mkdir -p secrets
cd secrets

if ! [ -s postgresql_password ]; then
    od -An -N 24 -t x1 /dev/urandom | tr -d ' \n' >postgresql_password.new
    mv postgresql_password.new postgresql_password
fi
printf 'postgresql://opendebrid:%s@postgresql:5432/opendebrid' "$(cat postgresql_password)" >database_url.new
mv database_url.new database_url
# until a worker is added: Compose wants every file that it names
[ -e controller_token ] || : >controller_token
chmod 0444 postgresql_password database_url controller_token

echo "deployments/secrets is ready; add a worker's join token as deployments/secrets/controller_token" >&2
