/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Forwarding to reals that answer their clients themselves, by XDP: plain packets, next hop known. */
#pragma once
#include "encap.h"

static __always_inline int xdp_out(struct xdp_md *xdp, const struct port *port)
{
	count(EVENT_FORWARDED_XDP);
	if (port->ifindex == xdp->ingress_ifindex && port->xdp_tx)
		return XDP_TX;
	return redirect(port->ifindex, 0);
}

/* The outer header's size, and what its checksum needs to know; 0 when TC has to look. */
static __always_inline u32 xdp_outer(void *l3, const u8 af, u8 proto, u32 word, void *end,
				     struct outer *o)
{
	u16 *check = l3 + IP_HLEN(af) + CHECK_OFFSET(proto), pseudo;
	u32 left = NOT_LEFT;

	o->tunnel = WORD_TUNNEL(word);
	o->csum = o->tunnel == TUNNEL_GUE ? af == 6 || !!(word & (WORD_CSUM | WORD_REMCSUM)) :
		  o->tunnel == TUNNEL_GRE ? !!(word & WORD_CSUM) : 0;
	if (o->csum) {
		if ((void *)(check + 1) > end || !*check)
			return 0;
		pseudo = pseudo_of(l3, af, proto);
		if (o->tunnel == TUNNEL_GUE && word & WORD_REMCSUM) {
			left = *check;
			*check = pseudo;
			o->remcsum = 1;
			o->csum_start = IP_HLEN(af);
			o->csum_at = IP_HLEN(af) + CHECK_OFFSET(proto);
		}
		o->inner_sum = inner_sum(l3, af, pseudo, left);
	}
	if (o->tunnel == TUNNEL_GUE)
		return IP_HLEN(af) + sizeof(struct udphdr) + sizeof(struct gue) +
		       (o->remcsum ? sizeof(struct gue_remcsum) : 0);
	if (o->tunnel == TUNNEL_GRE)
		return IP_HLEN(af) + sizeof(struct gre) + (o->csum ? 4 : 0);
	return IP_HLEN(af);
}

static __always_inline int xdp_oneway(struct xdp_md *xdp, const u8 af, struct flow *f, u32 slot,
				      const struct request *q)
{
	u32 word = f->word, now = now_tick(), index = f->port, size;
	struct control *c = control();
	struct director *d;
	struct port *port = map_lookup(&ports, &index);
	void *data = packet(xdp, HOOK_XDP), *end = packet_end(xdp, HOOK_XDP);
	u32 bytes = end - data - ETH_LEN;
	struct outer o = {};
	struct ethhdr *eth;

	if (unlikely(!c || !port || is_doubtful(f, c, now) || word & WORD_OTHER_FAMILY ||
		     !port->xdp_redirect || bytes > port->mtu ||
		     !hop_fresh(f->hop_stamp, hop_stamp(c, now)) || q->tcp_flags & TCP_SYN))
		return XDP_PASS;
	if (data + L4_OFFSET(af) + 8 > end || unlikely(hops_left(data + ETH_LEN, af) <= 1))
		return XDP_PASS;
	if (WORD_TUNNEL(word) && bytes + IP_HLEN(af) + tunnel_size(word) > port->mtu)
		return XDP_PASS;
	if (WORD_TUNNEL(word)) {
		d = director();
		if (!d)
			return XDP_PASS;
		outer_of(data + ETH_LEN, af, &o, d->pmtu_disc);
		o.ttl -= 1;
		size = xdp_outer(data + ETH_LEN, af, q->key.proto, word, end, &o);
		if (!size)
			return XDP_PASS;
		age_packet(data + ETH_LEN, af);
		if (af == 6)
			o.inner_sum += HOP_LIMIT_DIFF; /* in IPv4 the header's own checksum makes up for it */
		o.af = af;
		o.spread = slot;
		if (af == 4) {
			o.saddr[0] = ((struct flow4 *)f)->nsaddr;
			o.daddr[0] = ((struct flow4 *)f)->ndaddr;
			o.port = ((struct flow4 *)f)->nsport;
		} else {
			__builtin_memcpy(o.saddr, ((struct flow6 *)f)->nsaddr, 16);
			__builtin_memcpy(o.daddr, ((struct flow6 *)f)->ndaddr, 16);
			o.port = ((struct flow6 *)f)->nsport;
		}
		if (unlikely(d->tunnel_source))
			spread_source(&o);
		if (xdp_adjust_head(xdp, -(s32)size))
			return XDP_DROP;
		data = packet(xdp, HOOK_XDP);
		end = packet_end(xdp, HOOK_XDP);
		if (data + ETH_LEN > end || !write_outer(data + ETH_LEN, end, &o, af))
			return XDP_DROP;
	} else {
		age_packet(data + ETH_LEN, af);
	}
	eth = data;
	__builtin_memcpy(eth->dst, f->dmac, 6);
	__builtin_memcpy(eth->src, port->mac, 6);
	eth->proto = ethertype(af);
	if (ipvs_moves(f, f->ctl, q->tcp_flags))
		ipvs_track(af, slot, q->tcp_flags);
	if (f->seen != now)
		f->seen = now;
	account(f, 1, bytes);
	return xdp_out(xdp, port);
}
