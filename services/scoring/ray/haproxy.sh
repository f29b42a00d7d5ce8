#!/bin/sh
# What Ray Serve starts in place of HAProxy (RAY_SERVE_HAPROXY_BINARY_PATH): closes the configuration that Serve wrote, then becomes HAProxy.
exec "$TOLLGATE_PYTHON" -I -S "$(dirname "$0")/closed_haproxy.py" "$@"
