#!/bin/sh
# After an install or an upgrade: systemd reads the units, and the system's instances that run
# become the new version, without waiting for them. Those of users go on as they are until
# their users restart them.
set -e
if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	systemctl --no-block try-restart 'runtimegc@*.service' || true
fi
