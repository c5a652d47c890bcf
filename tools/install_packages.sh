#!/bin/sh
# Install the pinned packages into a virtual environment, with one line of progress. Usage: install_packages.sh VENV
set -eu
venv=$1
log=$venv/install.log
total=$(grep -c '==' requirements.lock)

pip() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input "$@"
}

{
    pip --only-binary=:all: -r requirements.lock && pip --no-deps -r requirements-nodeps.lock
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
