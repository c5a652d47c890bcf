#!/bin/sh
# Install the pinned packages into a virtual environment, with one line of progress. Usage: install_packages.sh VENV
set -eu
venv=$1
log=$venv/install.log
total=$(grep -c '==' requirements.lock)

# Reports of what was installed, with the hash of each wheel; a later run adds its own (tools/make_sbom.py reads them all).
report=$venv/installed-$(date +%s)-$$

pip() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input "$@"
}

{
    pip --report "$report-lock.json" --only-binary=:all: -r requirements.lock &&
        pip --report "$report-nodeps.json" --no-deps -r requirements-nodeps.lock
} >"$log" 2>&1 &
installer=$!
while kill -0 "$installer" 2>/dev/null; do
    found=$(grep -cE '^Collecting ' "$log" || true)
    if grep -q '^Installing collected packages' "$log"; then
        state="all $total fetched, unpacking"
    else
        state="$found of $total packages"
    fi
    if [ -t 1 ]; then printf '\r   %s ... ' "$state"; fi
    sleep 1
done
if [ -t 1 ]; then printf '\r'; fi
if wait "$installer"; then
    echo "   $total packages installed       "
else
    tail -n 15 "$log" >&2
    echo "the packages could not be installed; the whole log: $log" >&2
    exit 1
fi
