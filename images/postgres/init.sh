#!/bin/sh
# At the first start: LoRAForge's own role and database. It owns its tables and is no superuser.
set -eu
psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
    --set password="$LORAFORGE_PASSWORD" <<'SQL'
CREATE ROLE loraforge LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE loraforge OWNER loraforge ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE loraforge FROM PUBLIC;
SQL
