#!/bin/bash
# Installs what the hosts of the cluster tests are made with, where that is possible: root on
# a Debian or Ubuntu. Never fails: without it those tests are skipped and say why.
set -uo pipefail
needed="openssh-server openssh-client rsync iproute2"

missing() {
    for tool in /usr/sbin/sshd ssh ssh-keygen rsync ip unshare nsenter setpriv; do
        command -v "$tool" >/dev/null || echo "$tool"
    done
}

[ -n "$(missing)" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # An sshd of this machine's own is not wanted: none is started by the installation.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    # shellcheck disable=SC2086
    { timeout 120 apt-get -qq update; timeout 300 apt-get -qq install -y --no-install-recommends $needed; } \
        >/dev/null || true
fi
[ -z "$(missing)" ] || echo "the cluster tests will be skipped; missing: $(missing | tr '\n' ' ')" >&2
exit 0
