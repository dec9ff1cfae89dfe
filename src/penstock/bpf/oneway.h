/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Forwarding to reals that answer their clients themselves, by TC: direct routing (the frame gets
 * another address, the packet stays) and tunnelling (the packet gets an outer header).
 */
#pragma once
#include "icmp.h"
#include "encap.h"

/* What is being forwarded decides what of it is rewritten. */
enum shape {
	SHAPE_PLAIN, /* the transport header is at its usual place */
	SHAPE_GENERAL, /* options or extension headers before it, or a first fragment */
	SHAPE_FRAGMENT, /* a later fragment: addresses only */
	SHAPE_ERROR, /* an ICMP error about the flow */
};

/*
 * Counts as the kernel's IPVS does (ip_vs_in_stats(), ip_vs_out_stats()): fragments as the one
 * packet that they are put together to, and errors about the connection with its own. Returns 0.
 */
__noinline u32 account_ipvs(struct __sk_buff *skb, u32 af, u32 slot, u32 shape)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	u32 packets = skb->gso_segs ?: 1, bytes = skb->len - ETH_LEN;
	struct scratch *s = scratch();

	if (!f || !s)
		return 0;
	if (shape == SHAPE_FRAGMENT) {
		packets = 0;
		bytes = s->layout.end - s->layout.l4;
	} else if (shape == SHAPE_GENERAL && af == 6 && s->layout.fragment == FRAGMENT_FIRST) {
		bytes -= 8;
	}
	account(f, packets, bytes);
	return 0;
}

/* The addresses that a flow's packets travel to its real under. */
static __always_inline int way_of(const struct flow *f, const u8 af, be32 *saddr, be32 *daddr)
{
	u32 id = f->real;
	struct real *r;

	if (f->word & WORD_OTHER_FAMILY) {
		r = map_lookup(&reals, &id);
		if (!r)
			return 0;
		__builtin_memcpy(saddr, r->snat, 16);
		__builtin_memcpy(daddr, r->addr, 16);
	} else if (af == 4) {
		saddr[0] = ((const struct flow4 *)f)->nsaddr;
		daddr[0] = ((const struct flow4 *)f)->ndaddr;
	} else {
		__builtin_memcpy(saddr, ((const struct flow6 *)f)->nsaddr, 16);
		__builtin_memcpy(daddr, ((const struct flow6 *)f)->ndaddr, 16);
	}
	return 1;
}

static __always_inline be16 tunnel_port_of(const struct flow *f, const u8 af)
{
	return af == 4 ? ((const struct flow4 *)f)->nsport : ((const struct flow6 *)f)->nsport;
}

/*
 * Leaves the transport's checksum to the receiver: the field gets the pseudo header's sum. What was
 * there, or NOT_LEFT where the sender's device was to finish it, so that nobody else may.
 */
static __always_inline u32 leave_checksum(struct __sk_buff *skb, u32 at, u16 pseudo)
{
	u16 check;

	if (skb_load_bytes(skb, at, &check, 2) || check == pseudo)
		return NOT_LEFT;
	if (skb_store_bytes(skb, at, &pseudo, 2, F_RECOMPUTE_CSUM))
		return NOT_LEFT;
	return check;
}

/* Puts the outer header around the packet, whose own is final. 0, or 1 when there is no room. */
static __always_inline int encapsulate(struct __sk_buff *skb, const u8 af, u32 slot, u8 proto,
				       u32 plain)
{
	struct flow *f = flow_at(af, slot);
	struct director *d = director();
	struct scratch *s = scratch();
	u32 word, left = NOT_LEFT, size, check_at, oaf;
	u16 pseudo = 0, summed = 0;
	struct outer *o;
	void *data = packet(skb, HOOK_TC), *end = packet_end(skb, HOOK_TC);
	u64 flags;

	if (!f || !d || !s || data + L4_OFFSET(af) + 8 > end)
		return 1;
	word = f->word;
	oaf = word & WORD_OTHER_FAMILY ? 10 - af : af;
	o = &s->outer;
	__builtin_memset(o, 0, sizeof(*o));
	if (!way_of(f, af, o->saddr, o->daddr))
		return 1;
	outer_of(data + ETH_LEN, af, o, d->pmtu_disc);
	if (skb->gso_size)
		o->inner_len = skb->len - ETH_LEN;
	o->port = tunnel_port_of(f, af);
	o->spread = slot;
	o->af = oaf;
	o->tunnel = WORD_TUNNEL(word);
	/* Over IPv6 a sum is always right, and there are receivers that take no datagram without. */
	o->csum = o->tunnel == TUNNEL_GUE ? oaf == 6 || !!(word & (WORD_CSUM | WORD_REMCSUM)) :
		  o->tunnel == TUNNEL_GRE ? !!(word & WORD_CSUM) : 0;
	if (skb->gso_size && o->tunnel == TUNNEL_GUE)
		o->csum = 0; /* what cuts it does not know of the outer sum */
	spread_source(o);
	if (o->csum && plain && (proto == IPPROTO_TCP || proto == IPPROTO_UDP)) {
		pseudo = pseudo_of(data + ETH_LEN, af, proto);
		summed = proto == IPPROTO_TCP || ((struct udphdr *)(data + L4_OFFSET(af)))->check;
	}
	if (summed && word & WORD_REMCSUM && o->tunnel == TUNNEL_GUE) {
		check_at = CHECK_OFFSET(proto);
		left = leave_checksum(skb, L4_OFFSET(af) + check_at, pseudo);
		o->remcsum = left != NOT_LEFT;
		o->csum_start = IP_HLEN(af);
		o->csum_at = IP_HLEN(af) + check_at;
	}
	if (o->csum && !summed)
		o->inner_sum = sum_packet(skb, o->inner_len);
	data = packet(skb, HOOK_TC);
	end = packet_end(skb, HOOK_TC);
	if (data + L4_OFFSET(af) > end)
		return 1;
	if (summed)
		o->inner_sum = inner_sum(data + ETH_LEN, af, pseudo, left);
	size = oaf == 4 ? 20 : 40;
	flags = oaf == 4 ? ROOM_ENCAP_IPV4 : ROOM_ENCAP_IPV6;
	if (o->tunnel == TUNNEL_GUE) {
		size += sizeof(struct udphdr) + sizeof(struct gue) +
			(o->remcsum ? sizeof(struct gue_remcsum) : 0);
		flags |= ROOM_ENCAP_UDP;
	} else if (o->tunnel == TUNNEL_GRE) {
		size += sizeof(struct gre) + (o->csum ? 4 : 0);
		flags |= ROOM_ENCAP_GRE;
	}
	if (proto == IPPROTO_UDP)
		flags |= ROOM_FIXED_GSO;
	if (skb_adjust_room(skb, size, ROOM_MAC, flags))
		return 1;
	data = packet(skb, HOOK_TC);
	end = packet_end(skb, HOOK_TC);
	if (data + ETH_LEN > end)
		return 1;
	((struct ethhdr *)data)->proto = ethertype(oaf);
	if (!(oaf == 4 ? write_outer(data + ETH_LEN, end, o, 4) :
			 write_outer(data + ETH_LEN, end, o, 6)))
		return 1;
	if (csum_update(skb, 0) >= 0) /* the card's sum over the packet takes the outer header in */
		whole_sum_changes(skb, sum_chunk(skb, ETH_LEN, ETH_LEN + size));
	return 0;
}

__noinline int encapsulate4(struct __sk_buff *skb, u32 slot, u32 proto, u32 plain)
{
	return encapsulate(skb, 4, slot, proto, plain);
}

__noinline int encapsulate6(struct __sk_buff *skb, u32 slot, u32 proto, u32 plain)
{
	return encapsulate(skb, 6, slot, proto, plain);
}

/* May the packet be cut on its way? Its outer header will say so too. */
static __always_inline int may_be_cut(struct __sk_buff *skb, const u8 af)
{
	be16 frag_off;

	return af == 4 && !skb_load_bytes(skb, ETH_LEN + 6, &frag_off, sizeof(frag_off)) &&
	       !(frag_off & htons(IP_DF));
}

static __always_inline int send_oneway(struct __sk_buff *skb, const struct flow *f,
				       const struct port *port, const struct hop *hop)
{
	struct ethhdr *eth;

	if (unlikely(hop != NULL))
		return send_to_neighbour(skb, hop);
	eth = packet(skb, HOOK_TC);
	if ((void *)(eth + 1) > packet_end(skb, HOOK_TC))
		return drop(DROP_REWRITE);
	__builtin_memcpy(eth->dst, f->dmac, 6);
	__builtin_memcpy(eth->src, port->mac, 6);
	return redirect(port->ifindex, 0);
}

/* Where to look the next hop up; for direct routing whatever source the client has does not count. */
static __always_inline struct hop *hop_to_real(const struct flow *f, const u8 af, u8 oaf, u8 proto)
{
	struct scratch *s = scratch();
	struct hop *hop;

	if (!s)
		return NULL;
	hop = &s->hop;
	__builtin_memset(hop, 0, sizeof(*hop));
	if (!way_of(f, af, hop->src, hop->dst))
		return NULL;
	if (!WORD_TUNNEL(f->word)) {
		__builtin_memset(hop->src, 0, 16);
		hop->direct = 1;
	}
	hop->af = oaf;
	hop->proto = proto;
	return hop;
}

/* A client's packet to a real that answers past us. */
static __always_inline int forward_oneway(struct __sk_buff *skb, const u8 af, struct flow *f,
					  u32 slot, u8 proto, u32 event, enum shape shape)
{
	u32 word = f->word, now = now_tick(), why, room, limit, cut = 0, index;
	u8 oaf = word & WORD_OTHER_FAMILY ? 10 - af : af;
	struct director *d = director();
	struct control *c = control();
	struct hop *hop = NULL;
	struct port *port;
	void *data;

	if (!c || !d)
		return TCX_NEXT;
	data = packet(skb, HOOK_TC);
	if (data + L4_OFFSET(af) > packet_end(skb, HOOK_TC))
		return drop(DROP_REWRITE);
	if (unlikely(hops_left(data + ETH_LEN, af) <= 1)) {
		count(DROP_TTL);
		if (shape == SHAPE_FRAGMENT || shape == SHAPE_ERROR)
			return TC_SHOT;
		return af == 4 ? answer_expired4(skb) : answer_expired6(skb);
	}
	if (unlikely(!hop_fresh(f->hop_stamp, hop_stamp(c, now)))) {
		hop = hop_to_real(f, af, oaf, proto);
		if (!hop)
			return drop(DROP_NO_ROUTE);
		why = resolve_hop(skb, hop);
		if (why)
			return drop(why);
		f->port = hop->port;
		if (hop->kind == HOP_LOCAL) {
			f->hop_stamp = hop_stamp(c, now);
		} else if (hop->complete) {
			__builtin_memcpy(f->dmac, hop->dmac, 6);
			barrier();
			f->hop_stamp = hop_stamp(c, now);
		}
	}
	index = f->port;
	port = map_lookup(&ports, &index);
	if (!port)
		return drop(DROP_NO_EGRESS);
	room = WORD_TUNNEL(word) ? (oaf == 4 ? 20 : 40) + tunnel_size(word) : 0;
	limit = port->mtu - room;
	if (unlikely(skb->len - ETH_LEN > limit) && !port->loopback && !skb->gso_size) {
		/* Only an outer packet is the host's to send: one without is for the VIP, and so for it. */
		cut = room && oaf == 4 && may_be_cut(skb, af);
		if (!cut && (af == 6 || d->pmtu_disc || !room)) {
			count(DROP_TOO_BIG);
			account_ipvs(skb, af, slot, shape);
			if (shape == SHAPE_FRAGMENT || shape == SHAPE_ERROR)
				return TC_SHOT;
			return af == 4 ? answer_too_big4(skb, limit) : answer_too_big6(skb, limit);
		}
		cut = 1;
		count(EVENT_FRAGMENTED);
	}
	if ((shape == SHAPE_PLAIN || shape == SHAPE_GENERAL) && ipvs_moves(f, f->ctl, event))
		ipvs_track(af, slot, event);
	if (shape == SHAPE_ERROR)
		count(EVENT_ICMP_TRANSLATED);
	else if (f->seen != now)
		f->seen = now;
	account_ipvs(skb, af, slot, shape);
	if (shape == SHAPE_FRAGMENT)
		count(EVENT_FRAGMENT_FORWARDED);
	count(EVENT_FORWARDED_TC);
	if (port->loopback)
		return TCX_NEXT; /* this host is the real server */
	if (af == 6)
		whole_sum_changes(skb, HOP_LIMIT_DIFF);
	data = packet(skb, HOOK_TC);
	if (data + L4_OFFSET(af) > packet_end(skb, HOOK_TC))
		return drop(DROP_REWRITE);
	age_packet(data + ETH_LEN, af);
	if (WORD_TUNNEL(word) &&
	    (af == 4 ? encapsulate4(skb, slot, proto, shape == SHAPE_PLAIN) :
		       encapsulate6(skb, slot, proto, shape == SHAPE_PLAIN)))
		return drop(DROP_REWRITE);
	if (unlikely(cut))
		return send_to_host(skb);
	return send_oneway(skb, f, port, hop);
}
