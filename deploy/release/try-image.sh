#!/usr/bin/env bash
# Tries an image: README.md's example, as it is and over HTTP, and the health check. Usage: try-image.sh IMAGE
set -euo pipefail
image=$1
program=${DOCKER:-docker}

answer=$("$program" run --rm --network none --read-only --cap-drop ALL "$image" \
  detect --json --context "What did you think of the film?" --response "Yes.")
grep --quiet '"quantity":true' <<< "$answer" || { echo "another answer: $answer" >&2; exit 1; }

server=$("$program" run --detach --publish 127.0.0.1::8080 --read-only --cap-drop ALL "$image")
trap '"$program" rm --force "$server" > /dev/null' EXIT
# It answers while it loads only that it is not ready.
for _ in $(seq 60); do
  "$program" exec "$server" grice doctor --health http://127.0.0.1:8080 && ready=yes && break
  sleep 1
done
[ "${ready:-}" = yes ] || { "$program" logs "$server" >&2; exit 1; }
address=$("$program" port "$server" 8080/tcp | head -n 1)
answer=$(curl --silent --show-error --fail "http://$address/v1/detect" -H 'Content-Type: application/json' \
  -d '{"context": "What did you think of the film?", "response": "Yes."}')
grep --quiet '"quantity":true' <<< "$answer" || { echo "another answer: $answer" >&2; exit 1; }
"$program" stop --time 40 "$server" > /dev/null
code=$("$program" inspect --format '{{.State.ExitCode}}' "$server")
[ "$code" = 0 ] || { echo "it ended with $code" >&2; exit 1; }
echo "$image answers README.md's example: $("$program" image inspect --format '{{.Size}}' "$image") bytes"
