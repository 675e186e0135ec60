#!/bin/sh
# Is the service there, and does it know us? In production the gatekeeper adds the key.
set -eu
curl --silent --show-error --fail --output /dev/null https://api.example.com/v1/items
curl --silent --show-error --fail --output /dev/null --data '{"name": "chair"}' https://api.example.com/v1/items
echo "smoke: ok"
