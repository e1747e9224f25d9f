#!/bin/sh
# Before the removal, but not before an upgrade: "remove" is what dpkg says, and 0 what rpm.
set -e
case "${1:-}" in
remove | 0)
	if [ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
		systemctl stop 'runtimegc@*.service' || true
	fi
	;;
esac
