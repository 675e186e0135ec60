#!/bin/sh
# Print the path of a Python that can make virtual environments and is new enough, or say what is missing.
#
# usage: find_python.sh [VERSION]     VERSION (such as 3.12) asks for exactly that one.
#
# Looks at $PYTHON alone where it is set, else on PATH and among pyenv's versions. Each candidate is run: a name on
# PATH may be a pyenv shim for a version that is not active. This is the one script that cannot be Python.
set -u

want=${1:-}
probe='
import ensurepip, sys, venv
want = sys.argv[1]
found = "%d.%d" % sys.version_info[:2]
sys.exit(0 if (found == want if want else sys.version_info >= (3, 10)) else 1)
'

if [ -n "${PYTHON:-}" ] && [ -z "$want" ]; then
    set -- "$PYTHON"
elif [ -n "$want" ]; then
    set -- "python$want" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$want".*/bin/python
else
    set -- python3 python3.13 python3.12 python3.11 python3.10 python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[0-9].*/bin/python
fi

for candidate in "$@"; do
    path=$(command -v "$candidate" 2>/dev/null) || continue
    if "$path" -c "$probe" "$want" >/dev/null 2>&1; then
        printf '%s\n' "$path"
        exit 0
    fi
done

echo "no Python ${want:-3.10 or newer} with venv and ensurepip found (looked at: $*)." >&2
echo "Name one with: make PYTHON=/path/to/python3  (on Debian and Ubuntu, venv is the package python3-venv)" >&2
exit 1
