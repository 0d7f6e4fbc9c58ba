#!/bin/sh
# Start the MLflow server: PostgreSQL for runs and for users, artifacts served by the server.
# Needs DATABASE_URI (postgresql://user:password@host/name), ARTIFACTS (s3://bucket or a folder), ADMIN_PASSWORD and
# SECRET_KEY; HOST, PORT and ALLOWED_HOSTS have defaults for this machine alone.
set -eu
umask 077
# Nothing is imported from the folder that this starts in: not by Python, and not by uvicorn, which would look there first.
unset PYTHONPATH
PYTHONSAFEPATH=1
UVICORN_APP_DIR=/
export PYTHONSAFEPATH UVICORN_APP_DIR
: "${DATABASE_URI:?set it to postgresql://user:password@host/name}"
: "${ARTIFACTS:?set it to s3://bucket or to a folder}"
: "${ADMIN_PASSWORD:?set it; twelve characters or more}"
: "${SECRET_KEY:?set it to a long random text}"

settings=$(mktemp)
cat > "$settings" <<END
[mlflow]
default_permission = READ
database_uri = ${DATABASE_URI}
admin_username = admin
admin_password = ${ADMIN_PASSWORD}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
END
export MLFLOW_AUTH_CONFIG_PATH="$settings"
export MLFLOW_FLASK_SERVER_SECRET_KEY="$SECRET_KEY"
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
exec mlflow server \
    --backend-store-uri "$DATABASE_URI" \
    --artifacts-destination "$ARTIFACTS" \
    --app-name basic-auth \
    --host "${HOST:-127.0.0.1}" --port "${PORT:-5000}" --workers 2 \
    --allowed-hosts "${ALLOWED_HOSTS:-localhost:*,127.0.0.1:*}"
