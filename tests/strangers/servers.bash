# What the scripts in this directory have in common, to be sourced: an upstream, proxies, and their end. Linux only.

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
proxy_binary=$(realpath "${PROXY:-${CARGO_TARGET_DIR:-target}/debug/catalog-proxy}")
strangers="$PWD/tests/strangers"
tools="$(realpath "${CARGO_TARGET_DIR:-target}")/tmp/strangers"
work=$(mktemp -d)
declare -A pid=()
# Longest wait for anything that must happen, in seconds; the machine may be busy.
PATIENCE=60

finish() {
  for process in "${pid[@]}"; do kill "$process" 2>/dev/null || true; done
  wait
  rm -r "$work"
}
trap finish EXIT

fail() {
  echo "failed: $*" >&2
  for log in "$work"/proxy-*.log; do tail -n 5 "$log" | cut -c1-300 >&2; done
  exit 1
}

# Installs Debian packages for a command that is not there.
need() {
  local command=$1
  shift
  command -v "$command" >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends "$@"; } >&2
}

# Prints the first match of a pattern in a file, once there is one.
awaited() {
  local end=$((SECONDS + PATIENCE))
  until grep -qsE "$1" "$2"; do
    [ $SECONDS -lt $end ] || fail "never: $1 in $2"
    sleep 0.05
  done
  grep -oE "$1" "$2" | head -n 1
}

start_upstream() {
  python3 "$strangers/upstream.py" >"$work/upstream" &
  pid[upstream]=$!
  upstream=$(awaited 'http://.*' "$work/upstream")
}

# start_proxy NAME FLAG…: sets listen[NAME] and admin[NAME] to its addresses.
declare -A listen=() admin=()
start_proxy() {
  local name=$1 log="$work/proxy-$1.log"
  shift
  # Variables of who runs this are no settings of it.
  env -u CATALOG_PROXY_CONFIG "$proxy_binary" serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --upstream "$upstream" \
    --whitelist whitelist.toml --shops deploy/kubernetes/shops --log-format json "$@" 2>"$log" &
  pid[$name]=$!
  listen[$name]=$(awaited '"listen":"[^"]*' "$log" | cut -d'"' -f4)
  admin[$name]=$(awaited '"admin":"[^"]*' "$log" | cut -d'"' -f4)
}

# A certificate for localhost, signed by an authority of its own: $work/ca.pem, cert.pem, key.pem.
make_certificate() {
  need openssl openssl
  (
    cd "$work"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -keyout ca-key.pem -out ca.pem \
      -subj "/CN=Authority of this test" -addext "keyUsage=critical,keyCertSign,cRLSign"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out request.pem -subj "/CN=localhost"
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 365 -out leaf.pem \
      -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n')
    cat leaf.pem ca.pem >cert.pem
  ) 2>"$work/openssl.log" || fail "$(cat "$work/openssl.log")"
}

# Compares findings on stdin, one `ID<tab>WHERE<tab>TEXT` a line, with a list of those that have a reason:
# `ID<tab>WHERE, a pattern of the shell<tab>reason`. New ones fail, and so do reasons for what is not found any more, unless
# a question mark before the ID says that it is found now and then.
judge() {
  python3 - "$1" /dev/fd/3 3<&0 <<'PYTHON'
import fnmatch, sys

rows = [line.rstrip("\n").split("\t") for line in open(sys.argv[1]) if line.strip() and not line.startswith("#")]
assert all(len(row) == 3 and row[2] for row in rows), f"{sys.argv[1]}: a row has no reason"
found = sorted({tuple(line.rstrip("\n").split("\t", 2)) for line in open(sys.argv[2])})
used, new = set(), []
for identifier, where, text in found:
    known = [n for n, row in enumerate(rows) if row[0].lstrip("?") == identifier and fnmatch.fnmatchcase(where, row[1])]
    used.update(known)
    if not known:
        new.append(f"  {identifier} at {where}: {text}")
unused = [f"  {row[0]} at {row[1]}" for n, row in enumerate(rows) if n not in used and row[0][0] != "?"]
print(f"{len(found)} findings, {len(found) - len(new)} of them for a listed reason")
if new:
    print("new:", *new, sep="\n")
if unused:
    print("listed, but not found any more:", *unused, sep="\n")
sys.exit(1 if new or unused else 0)
PYTHON
}
