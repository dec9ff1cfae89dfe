/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The XDP path: plain packets of flows whose next hop is known. All else it leaves untouched to
 * the TC program of the same interface, which knows every case; so XDP has nothing to lose.
 */
#pragma once
#include "xdp_oneway.h"

/*
 * scratch->stamp of a FIN whose only option, if any, is a timestamp as everybody lays it out
 * (RFC 7323, appendix A). 0 when it is another kind.
 */
static __always_inline int xdp_stamp(struct xdp_md *xdp, const u8 af)
{
	void *data = packet(xdp, HOOK_XDP), *end = packet_end(xdp, HOOK_XDP);
	struct tcphdr *tcp = data + L4_OFFSET(af);
	struct scratch *s = scratch();
	u32 claimed, len;
	be32 *option;

	if (!s || (void *)(tcp + 1) > end)
		return 0;
	if (af == 4)
		claimed = ntohs(((struct iphdr *)(data + ETH_LEN))->tot_len) - 20;
	else
		claimed = ntohs(((struct ip6hdr *)(data + ETH_LEN))->payload_len);
	len = (tcp->doff >> 4) * 4;
	s->stamp.seq = ntohl(tcp->seq) + claimed - len + 1;
	s->stamp.ack = ntohl(tcp->ack);
	s->stamp.timestamp = 0;
	if (len == 20)
		return 1;
	option = (void *)(tcp + 1);
	if (len != 32 || (void *)(option + 2) > end || option[0] != htonl(0x0101080a))
		return 0;
	s->stamp.timestamp = ntohl(option[1]);
	return 1;
}

/* Bytes behind the transport header, as the headers claim. */
static __always_inline u32 xdp_payload(struct xdp_md *xdp, const u8 af, u8 proto)
{
	void *data = packet(xdp, HOOK_XDP), *end = packet_end(xdp, HOOK_XDP);
	struct tcphdr *tcp = data + L4_OFFSET(af);
	u32 len, headers = 8;

	if (data + L4_OFFSET(af) > end)
		return 0;
	if (af == 4)
		len = ntohs(((struct iphdr *)(data + ETH_LEN))->tot_len) - 20;
	else
		len = ntohs(((struct ip6hdr *)(data + ETH_LEN))->payload_len);
	if (proto == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return 0;
		headers = (tcp->doff >> 4) * 4;
	}
	return (s32)(len - headers) > 0 ? len - headers : 0;
}

static __always_inline int xdp_forward(struct xdp_md *xdp, const u8 af, struct flow *f, u32 slot,
				       const struct request *q)
{
	u32 ctl = f->ctl, now = now_tick(), index = f->port;
	struct control *c = control();
	struct port *port = map_lookup(&ports, &index);
	void *data = packet(xdp, HOOK_XDP), *end = packet_end(xdp, HOOK_XDP);
	u32 bytes = end - data - ETH_LEN;
	struct target t = {};
	struct udphdr *u;
	u64 diff;

	if (unlikely(!c || !port || ctl & (CTL_CROSS | CTL_PARTED) || !port->xdp_redirect ||
		     bytes > port->mtu || (ctl & CTL_IPVS && is_doubtful(f, c, now)) ||
		     !hop_fresh(f->hop_stamp, hop_stamp(c, now))))
		return XDP_PASS;
	if (data + L4_OFFSET(af) + (q->key.proto == IPPROTO_TCP ? 20 : 8) > end)
		return XDP_PASS;
	if (unlikely(hops_left(data + ETH_LEN, af) <= 1))
		return XDP_PASS;
	target_of(f, af, &t);
	rewrite_ip(data + ETH_LEN, af, &t, &diff);
	u = data + L4_OFFSET(af);
	diff += diff32(two_ports(u->sport, u->dport), two_ports(t.sport, t.dport));
	u->sport = t.sport;
	u->dport = t.dport;
	fix_transport_xdp(u, end, q->key.proto, diff);
	__builtin_memcpy(((struct ethhdr *)data)->dst, f->dmac, 6);
	__builtin_memcpy(((struct ethhdr *)data)->src, port->mac, 6);

	if (unlikely(f->dist & DIST_LOGGED))
		log_packet(af, slot, xdp_payload(xdp, af, q->key.proto), 1);
	if (ctl & CTL_IPVS) {
		if (ipvs_moves(f, ctl, q->tcp_flags))
			ipvs_track(af, slot, q->tcp_flags);
	} else if (unlikely(q->tcp_flags & (TCP_FIN | TCP_RST)) ||
	    unlikely((ctl & (CTL_REVERSE | CTL_REPLIED)) == CTL_REVERSE))
		track(af, slot, q->tcp_flags);
	if (f->seen != now)
		f->seen = now;
	account(f, 1, bytes);
	return xdp_out(xdp, port);
}

static __always_inline int xdp_family(struct xdp_md *xdp, const u8 af)
{
	struct request q = { .ifindex = xdp->ingress_ifindex };
	struct flow *f;
	u32 slot;

	if (unlikely(!parse_plain(xdp, HOOK_XDP, af, &q)))
		return XDP_PASS;
	slot = flow_find(&q.key, af);
	if (slot == NO_SLOT || unlikely((q.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN))
		return XDP_PASS;
	f = flow_at(af, slot);
	if (!f)
		return XDP_PASS;
	if (f->ctl & CTL_ONEWAY)
		return xdp_oneway(xdp, af, f, slot, &q);
	if (unlikely(q.tcp_flags & TCP_FIN) && !(f->ctl & CTL_IPVS) && !xdp_stamp(xdp, af))
		return XDP_PASS;
	return xdp_forward(xdp, af, f, slot, &q);
}

static __always_inline int xdp_packet(struct xdp_md *xdp)
{
	struct ethhdr *eth = packet(xdp, HOOK_XDP);
	int verdict = XDP_PASS;

	if ((void *)(eth + 1) > packet_end(xdp, HOOK_XDP))
		return XDP_PASS;
	if (likely(eth->proto == htons(ETH_P_IP)))
		verdict = xdp_family(xdp, 4);
	else if (eth->proto == htons(ETH_P_IPV6))
		verdict = xdp_family(xdp, 6);
	if (verdict == XDP_PASS)
		count(PASS_TO_TC);
	return verdict;
}
