#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the programs that tests with real traffic use, where root runs it and they are missing.
# A test whose program is missing all the same is left out, and the test run says so.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/packages.sh

need() { command -v "$1" >/dev/null || want "$2"; }

PATH=$PATH:/usr/sbin:/sbin
need nginx nginx-light
need haproxy haproxy
need iperf3 iperf3
need dig bind9-dnsutils
need dnsmasq dnsmasq-base
need wrk wrk
need tcpdump tcpdump
need ethtool ethtool
need nft nftables
need ping iputils-ping
need varnishtest varnish
need bpftool bpftool
need tc iproute2
need redis-server redis-server
need mariadbd mariadb-server
need slapd slapd
need smtpd opensmtpd
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || want postgresql
need curl curl
need socat socat
need tmux tmux
need hatop hatop
need prometheus-haproxy-exporter prometheus-haproxy-exporter
[ -e /usr/lib/nagios/plugins/check_haproxy ] ||
	want monitoring-plugins-contrib libwww-perl libmonitoring-plugin-perl liblocale-gettext-perl
need nsenter util-linux
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || want libnginx-mod-stream

install_wanted || say "tests that need what is missing will be left out"
