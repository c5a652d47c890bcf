#!/bin/sh
# Says whether this machine can run the project, before anything is installed. Usage: check_machine.sh PYTHON
set -u
python=$1
failed=0

fail() {
    printf 'cannot set up: %s\n          fix: %s\n' "$1" "$2" >&2
    failed=1
}

check_system() {
    system="$(uname -s) $(uname -m)"
    [ "$system" = "Linux x86_64" ] || fail "this is $system, the Triton server needs Linux x86_64" \
        "use a Linux x86_64 machine, real or virtual"
}

check_glibc() {
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || glibc="not glibc"
    number=${glibc#glibc }
    major=${number%%.*}
    minor=${number#*.}
    minor=${minor%%.*}
    if [ "$glibc" = "$number" ] || [ "$major" -lt 2 ] || { [ "$major" -eq 2 ] && [ "$minor" -lt 35 ]; }; then
        fail "the C library is $glibc, the Triton server needs glibc 2.35 or newer" \
            "use Debian 12, Ubuntu 22.04 or newer"
    fi
}

check_python() {
    if ! command -v "$python" >/dev/null 2>&1; then
        fail "there is no program $python" \
            "install Python 3.11 (Debian: apt-get install python3 python3-venv) or name yours: make PYTHON=/path/to/python3.11"
        return
    fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=unknown
    case $version in
        3.11) ;;
        3.12) echo "note: Python 3.12 is allowed, but only 3.11 is tested" ;;
        *)
            fail "$python is Python $version, expected 3.11 (tested) or 3.12" \
                "install Python 3.11 and name it: make PYTHON=/path/to/python3.11"
            return
            ;;
    esac
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python makes no virtual environments: its module venv or ensurepip is missing" \
            "on Debian and Ubuntu: apt-get install python$version-venv"
    check_libpython
}

# The stub of Triton's Python backend loads Python as a shared library, which some installations lack.
check_libpython() {
    "$python" - 2>/dev/null <<'PY' && return
import ctypes, os, sys, sysconfig
name = "libpython%d.%d.so.1.0" % sys.version_info[:2]
folders = [sysconfig.get_config_var("LIBDIR") or "", os.path.join(sys.base_prefix, "lib")]
if not any(os.path.exists(os.path.join(folder, name)) for folder in folders):
    ctypes.CDLL(name)
PY
    fail "$python has no shared library libpython$version.so.1.0, in which Triton runs its models" \
        "on Debian and Ubuntu: apt-get install libpython$version; with pyenv: build Python with --enable-shared"
}

check_system
check_glibc
check_python
exit "$failed"
