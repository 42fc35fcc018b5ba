#!/bin/sh
# Installs from the tarball where there is no dpkg: `./install.sh [ROOT]`, as root. A configuration that is there is kept.
set -eu
cd "$(dirname "$0")"
root=${1:-}
install -D -m 755 tidegate "$root/usr/bin/tidegate"
install -D -m 644 tidegate.service "$root/usr/lib/systemd/system/tidegate.service"
install -D -m 644 sysusers.conf "$root/usr/lib/sysusers.d/tidegate.conf"
install -D -m 644 tmpfiles.conf "$root/usr/lib/tmpfiles.d/tidegate.conf"
[ -e "$root/etc/tidegate/gateway.toml" ] || install -D -m 640 minimal.toml "$root/etc/tidegate/gateway.toml"
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
  systemd-sysusers tidegate.conf
  systemd-tmpfiles --create tidegate.conf
  systemctl daemon-reload
  systemctl enable tidegate
  systemctl restart tidegate
fi
