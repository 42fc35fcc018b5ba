#!/bin/sh
# Installs from the tarball what the Debian package holds, where there is no dpkg: `./install.sh [ROOT]`, as root. A file in
# /etc that was changed is kept, and the new one put beside it as NAME.dist. `./install.sh --remove [ROOT]` takes all but
# /etc/tidegate and the state directory away again. With a ROOT nothing is started.
set -eu
umask 022
cd "$(dirname "$0")"
remove=
if [ "${1:-}" = --remove ]; then remove=1; shift; fi
root=${1:-}
live=
if [ -z "$root" ] && [ -d /run/systemd/system ]; then live=1; fi

put() { # put MODE FROM TO: there is the old file or the new one, whole, whatever happens
  mkdir -p "$(dirname "$root/$3")"
  install -m "$1" "$2" "$root/$3.new"
  sync "$root/$3.new" 2>/dev/null || sync
  mv -f "$root/$3.new" "$root/$3"
}
keep() { # keep MODE FROM TO: the operator's own
  if [ ! -e "$root/$3" ]; then
    put "$1" "$2" "$3"
  elif ! cmp -s "$2" "$root/$3"; then
    put "$1" "$2" "$3.dist"
    echo "$root/$3 was changed and is kept; the new one is $root/$3.dist"
  fi
}

if [ -n "$remove" ]; then
  # What still runs is not taken away: a failure to stop it ends this.
  if [ -n "$live" ] && [ -e /usr/lib/systemd/system/tidegate.service ]; then systemctl disable --now tidegate; fi
  for file in bin/tidegate lib/systemd/system/tidegate.service lib/sysusers.d/tidegate.conf lib/tmpfiles.d/tidegate.conf \
    share/man/man1/tidegate.1.gz share/bash-completion/completions/tidegate share/doc/tidegate/copyright \
    share/doc/tidegate/examples/gateway.toml; do
    rm -f "$root/usr/$file"
  done
  [ -z "$live" ] || systemctl daemon-reload
  exit 0
fi

first=1
if [ -e "$root/usr/lib/systemd/system/tidegate.service" ]; then first=; fi
put 755 tidegate usr/bin/tidegate
put 644 tidegate.service usr/lib/systemd/system/tidegate.service
put 644 sysusers.conf usr/lib/sysusers.d/tidegate.conf
put 644 tmpfiles.conf usr/lib/tmpfiles.d/tidegate.conf
put 644 tidegate.1.gz usr/share/man/man1/tidegate.1.gz
put 644 tidegate.bash usr/share/bash-completion/completions/tidegate
put 644 LICENSE usr/share/doc/tidegate/copyright
put 644 gateway.toml usr/share/doc/tidegate/examples/gateway.toml
keep 640 minimal.toml etc/tidegate/gateway.toml
for map in modbus/*.toml; do keep 644 "$map" "etc/tidegate/$map"; done
if [ -n "$live" ]; then
  systemd-sysusers tidegate.conf
  systemd-tmpfiles --create tidegate.conf
  systemctl daemon-reload
  # What an operator disabled or stopped stays so over an upgrade.
  if [ -n "$first" ]; then systemctl enable --now tidegate; else systemctl try-restart tidegate; fi
fi
