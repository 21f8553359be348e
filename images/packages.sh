#!/bin/sh
# Within a build: the packages of a lock file into a virtual environment, each checked against its hash.
#   packages.sh FOLDER LOCK        PIP_SETTINGS: see tools/images.py
set -eu
settings=/tmp/pip-settings
mkdir "$settings"
if [ -n "${PIP_SETTINGS:-}" ]; then
    python3 - "$PIP_SETTINGS" "$settings" <<'PYTHON'
import io, sys, tarfile, urllib.request
url, into = sys.argv[1:]
plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with plain.open(url + "settings.tar") as answer:
    tarfile.open(fileobj=io.BytesIO(answer.read())).extractall(into)
PYTHON
fi
export PIP_CONFIG_FILE="$settings/pip.conf" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
python3 -m venv "$1"
"$1/bin/pip" install --progress-bar=off --quiet --require-hashes -r "$2"
rm -rf "$settings"
