#!/bin/sh
# Within the build of the training image: torch, then SWIFT by its lock, into /opt/swift.
# TORCH, TORCH_INDEX, PIP_SETTINGS: see the Dockerfile.
set -eu
settings=/tmp/pip-settings
mkdir "$settings"
if [ -n "$PIP_SETTINGS" ]; then
    python3 - "$PIP_SETTINGS" "$settings" <<'PYTHON'
import io, sys, tarfile, urllib.request
url, into = sys.argv[1:]
plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with plain.open(url + "settings.tar") as answer:
    tarfile.open(fileobj=io.BytesIO(answer.read())).extractall(into)
PYTHON
fi
export PIP_CONFIG_FILE="$settings/pip.conf" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

python3 -m venv /opt/swift
install() {
    /opt/swift/bin/pip install --progress-bar=off --quiet --no-compile "$@"
}
echo "$TORCH"
if [ -n "$TORCH_INDEX" ]; then
    install --index-url "$TORCH_INDEX" "$TORCH"
else
    install "$TORCH"
fi
echo "SWIFT and its packages"
install --require-hashes --no-deps -r /opt/recipe/swift-cpu.txt
# The root is read-only later: what is not compiled now is compiled at every start. On all cores; some
# packages carry templates that are no Python, and those alone fail. Their own tests (3,000 files) never start.
/opt/swift/bin/python -m compileall -q -j 0 -x '/tests/' /opt/swift/lib >/dev/null || true
/opt/swift/bin/python -c "import torch, swift"
rm -rf "$settings"
