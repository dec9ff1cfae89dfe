/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The TC path: everything, including what XDP leaves to it. */
#pragma once
#include "cross_icmp.h"
#include "reset.h"
#include "tunnel_icmp.h"

/* Does it fit? A GSO packet is cut later, at gso_size payload bytes each. */
static __always_inline int too_big(struct __sk_buff *skb, u32 l4, u8 proto, u32 mtu)
{
	u32 headers = l4 - ETH_LEN + (proto == IPPROTO_TCP ? 32 : 8);

	if (skb->len - ETH_LEN <= mtu)
		return 0;
	return !skb->gso_size || skb->gso_size + headers > mtu;
}

static __always_inline int forward(struct __sk_buff *skb, const u8 af, struct flow *f, u32 slot,
				   u32 l4, u8 proto, u8 tcp_flags, const enum shape shape,
				   struct target *t)
{
	u32 ctl = f->ctl, now = now_tick(), mtu, why, cut = 0;
	struct control *c = control();
	struct hop *hop = NULL;
	struct port *port;
	void *data, *end;
	u64 diff, ports_diff;
	u32 index;

	if (!c)
		return TCX_NEXT;
	if (unlikely(ctl & CTL_PARTED))
		return pass(PASS_NO_FLOW);
	data = packet(skb, HOOK_TC);
	end = packet_end(skb, HOOK_TC);
	if (data + L4_OFFSET(af) > end)
		return drop(DROP_REWRITE);
	if (unlikely(hops_left(data + ETH_LEN, af) <= 1)) {
		count(DROP_TTL);
		if (shape == SHAPE_FRAGMENT || shape == SHAPE_ERROR)
			return TC_SHOT;
		return af == 4 ? answer_expired4(skb) : answer_expired6(skb);
	}
	target_of(f, af, t);
	if (unlikely(!hop_fresh(f->hop_stamp, hop_stamp(c, now)))) {
		hop = hop_for(t, af, proto);
		if (!hop)
			return drop(DROP_NO_ROUTE);
		hop->or_host = !!(ctl & CTL_IPVS);
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
	mtu = port->mtu;
	if (unlikely(skb->len - ETH_LEN > mtu) && !port->loopback &&
	    too_big(skb, l4, proto, mtu)) {
		cut = shape != SHAPE_ERROR && may_be_cut(skb, af);
		if (!cut) {
			count(DROP_TOO_BIG);
			if (ctl & CTL_IPVS)
				account_ipvs(skb, af, slot, shape);
			if (shape == SHAPE_FRAGMENT || shape == SHAPE_ERROR)
				return TC_SHOT;
			return af == 4 ? answer_too_big4(skb, mtu) : answer_too_big6(skb, mtu);
		}
		count(EVENT_FRAGMENTED);
	}

	if (ctl & CTL_IPVS) {
		if ((shape == SHAPE_PLAIN || shape == SHAPE_GENERAL) &&
		    ipvs_moves(f, ctl, tcp_flags))
			ipvs_track(af, slot, tcp_flags);
	} else if (shape != SHAPE_ERROR) {
		if (unlikely(f->dist & DIST_LOGGED))
			log_skb(skb, af, slot, l4, shape == SHAPE_FRAGMENT ? 0 : proto);
		if (shape != SHAPE_FRAGMENT &&
		    (unlikely(tcp_flags & (TCP_FIN | TCP_RST)) ||
		     unlikely((ctl & (CTL_REVERSE | CTL_REPLIED)) == CTL_REVERSE))) {
			if (tcp_flags & TCP_FIN)
				read_stamp(skb, af, l4);
			track(af, slot, tcp_flags);
		}
	}
	if (shape != SHAPE_ERROR && f->seen != now)
		f->seen = now;
	if (shape != SHAPE_PLAIN && ctl & CTL_IPVS)
		account_ipvs(skb, af, slot, shape);
	else if (shape != SHAPE_ERROR)
		account(f, skb->gso_segs ?: 1, skb->len - ETH_LEN);

	data = packet(skb, HOOK_TC);
	end = packet_end(skb, HOOK_TC);
	if (shape == SHAPE_ERROR) {
		if (!rewrite_error(skb, af, t))
			return drop(DROP_REWRITE);
		count(EVENT_ICMP_TRANSLATED);
	} else {
		if (data + L4_OFFSET(af) + (shape == SHAPE_PLAIN ? 8 : 0) > end)
			return drop(DROP_REWRITE);
		rewrite_ip(data + ETH_LEN, af, t, &diff);
		if (af == 6)
			whole_sum_changes(skb, HOP_LIMIT_DIFF +
						       (shape == SHAPE_FRAGMENT || proto == IPPROTO_SCTP ?
								diff : 0));
		if (shape == SHAPE_PLAIN) {
			struct udphdr *u = data + L4_OFFSET(af);

			ports_diff = diff32(two_ports(u->sport, u->dport),
					    two_ports(t->sport, t->dport));
			u->sport = t->sport;
			u->dport = t->dport;
			if (!fix_transport_tc(skb, af, L4_OFFSET(af), proto, diff, ports_diff))
				return drop(DROP_REWRITE);
		} else if (shape == SHAPE_GENERAL) {
			be16 was[2];

			if (l4 > 1024 || skb_load_bytes(skb, l4, was, 4) ||
			    skb_store_bytes(skb, l4, &t->sport, 4,
					    proto == IPPROTO_SCTP ? F_RECOMPUTE_CSUM : 0))
				return drop(DROP_REWRITE);
			ports_diff = diff32(two_ports(was[0], was[1]), two_ports(t->sport, t->dport));
			if (proto == IPPROTO_SCTP) {
				if (sctp_ports_changed(skb, l4, two_ports(was[0], was[1]) ^
								      two_ports(t->sport, t->dport)))
					return drop(DROP_REWRITE);
			} else if (!fix_transport_tc(skb, af, l4, proto, diff, ports_diff))
				return drop(DROP_REWRITE);
		} else {
			count(EVENT_FRAGMENT_FORWARDED);
		}
	}
	count(EVENT_FORWARDED_TC);
	/* What is masqueraded for this host goes on where it is: there its source is no surprise. */
	if (port->loopback && (ctl & (CTL_IPVS | CTL_REVERSE)) == CTL_IPVS && !cut)
		return TCX_NEXT;
	if (port->loopback || unlikely(cut))
		return send_to_host(skb);
	if (unlikely(hop != NULL))
		return send_to_neighbour(skb, hop);
	data = packet(skb, HOOK_TC);
	end = packet_end(skb, HOOK_TC);
	if (data + ETH_LEN > end)
		return drop(DROP_REWRITE);
	__builtin_memcpy(((struct ethhdr *)data)->dst, f->dmac, 6);
	__builtin_memcpy(((struct ethhdr *)data)->src, port->mac, 6);
	return redirect(port->ifindex, 0);
}

static __always_inline int refuse(struct __sk_buff *skb, const u8 af, u32 refusal)
{
	u32 why = REFUSAL_REASON(refusal);

	count(why);
	if (why == DROP_UDP_REFUSED || why == DROP_UDP_RULE_REJECT || why == DROP_NO_DESTINATION)
		return af == 4 ? answer_unreachable4(skb) : answer_unreachable6(skb);
	return why < DROP_SERVICE_MAXCONN /* the first of them */ ? TCX_NEXT : TC_SHOT;
}

/* expire_quiescent_udp: a datagram asks whether its destination is still wanted. */
static __always_inline u32 looks_at_udp(const struct flow *f, const struct control *c)
{
	return c->quiescent_udp && f->ctl & CTL_UDP;
}

/* Does a packet make IPVS look at its connection again? A client's, for good reasons only. */
static __always_inline u32 revisit(const u8 af, u32 slot, const struct flow *f,
				   const struct request *q)
{
	u32 opens = f->ctl & CTL_SCTP ? q->tcp_flags == SCTP_INIT :
					!(f->ctl & CTL_UDP) && q->tcp_flags & TCP_SYN;
	struct control *c = control();

	if (f->ctl & CTL_REVERSE || !c || !(opens || is_doubtful(f, c, now_tick())))
		return REVISIT_KEEP;
	return ipvs_revisit(af, slot, opens, looks_at_udp(f, c));
}

/* The slot for a packet whose flow, if it has one, was found there; or a refusal. */
static __always_inline u32 flow_for(struct __sk_buff *skb, struct request *q, const u8 af,
				    u32 l4, u32 slot)
{
	struct flow *f = flow_at(af, slot);

	if (likely(slot != NO_SLOT) && f && f->ctl & CTL_IPVS) {
		u32 found = revisit(af, slot, f, q);

		if (likely(found == REVISIT_KEEP))
			return slot;
		if (found == REVISIT_GONE)
			return REFUSAL(DROP_DESTINATION_GONE);
	} else if (likely(slot != NO_SLOT)) {
		if (likely((q->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN) ||
		    !syn_restarts(af, slot))
			return slot;
	}
	if (q->key.proto == IPPROTO_TCP && q->tcp_flags & TCP_SYN)
		read_stamp(skb, af, l4);
	slot = new_flow(q);
	return slot == IPVS_DECIDES ? ipvs_new_flow(q) : slot;
}

/* A function of its own, and of its own stack: opening a flow needs the rest of the 512 bytes. */
__noinline int forward_plain4(struct __sk_buff *skb, u32 slot, u32 proto, u32 tcp_flags)
{
	struct flow *f = flow_at(4, slot);
	struct target t = {};

	return f ? forward(skb, 4, f, slot, L4_OFFSET(4), proto, tcp_flags, SHAPE_PLAIN, &t) :
		   TCX_NEXT;
}

__noinline int forward_plain6(struct __sk_buff *skb, u32 slot, u32 proto, u32 tcp_flags)
{
	struct flow *f = flow_at(6, slot);
	struct target t = {};

	return f ? forward(skb, 6, f, slot, L4_OFFSET(6), proto, tcp_flags, SHAPE_PLAIN, &t) :
		   TCX_NEXT;
}

__noinline int forward_oneway4(struct __sk_buff *skb, u32 slot, u32 proto, u32 tcp_flags)
{
	struct flow *f = flow_at(4, slot);

	return f ? forward_oneway(skb, 4, f, slot, proto, tcp_flags, SHAPE_PLAIN) :
		   TCX_NEXT;
}

__noinline int forward_oneway6(struct __sk_buff *skb, u32 slot, u32 proto, u32 tcp_flags)
{
	struct flow *f = flow_at(6, slot);

	return f ? forward_oneway(skb, 6, f, slot, proto, tcp_flags, SHAPE_PLAIN) :
		   TCX_NEXT;
}

static __always_inline int tc_plain(struct __sk_buff *skb, const u8 af, struct request *q)
{
	u32 slot = flow_for(skb, q, af, L4_OFFSET(af), flow_find(&q->key, af));
	struct flow *f;
	int verdict;

	if (unlikely(IS_REFUSAL(slot)))
		return refuse(skb, af, slot);
	f = flow_at(af, slot);
	if (!f)
		return TCX_NEXT;
	if (unlikely(f->ctl & (CTL_CROSS | CTL_PARTED))) {
		if (f->ctl & CTL_PARTED)
			return af == 4 ? answer_reset4(skb) : answer_reset6(skb);
		return af == 4 ? cross_from4(skb, slot, q->tcp_flags) :
				 cross_from6(skb, slot, q->tcp_flags);
	}
	if (f->ctl & CTL_ONEWAY)
		verdict = af == 4 ? forward_oneway4(skb, slot, q->key.proto, q->tcp_flags) :
				    forward_oneway6(skb, slot, q->key.proto, q->tcp_flags);
	else
		verdict = af == 4 ? forward_plain4(skb, slot, q->key.proto, q->tcp_flags) :
				    forward_plain6(skb, slot, q->key.proto, q->tcp_flags);
	if (unlikely(is_private(af, slot)))
		clear_private(af, slot);
	return verdict;
}

/* Fragments, IP options, extension headers, ICMP errors: in steps, each with a stack of its own. */

static __always_inline int parse_unusual(struct __sk_buff *skb, const u8 af)
{
	struct scratch *s = scratch();
	int why;

	if (!s)
		return PASS_MALFORMED;
	__builtin_memset(&s->request, 0, sizeof(s->request));
	__builtin_memset(&s->layout, 0, sizeof(s->layout));
	__builtin_memset(&s->target, 0, sizeof(s->target));
	s->request.ifindex = skb->ifindex;
	s->request.mark = skb->mark;
	why = parse_any(skb, af, &s->request, &s->layout);
	if (why)
		return why;
	if (skb_pull_data(skb, skb->len < 128 ? skb->len : 128))
		return PASS_MALFORMED;
	__builtin_memcpy(s->fragment.saddr, s->request.key.saddr, 16);
	__builtin_memcpy(s->fragment.daddr, s->request.key.daddr, 16);
	s->fragment.id = s->layout.id;
	/* IPv6 tells datagrams apart without it: later fragments name what follows the first header. */
	s->fragment.proto = af == 4 ? s->layout.proto : 0;
	s->fragment.af = af;
	return 0;
}

__noinline int parse_unusual4(struct __sk_buff *skb)
{
	return parse_unusual(skb, 4);
}

__noinline int parse_unusual6(struct __sk_buff *skb)
{
	return parse_unusual(skb, 6);
}

__noinline int forward_oneway_unusual4(struct __sk_buff *skb, u32 slot, u32 shape)
{
	struct flow *f = flow_at(4, slot);
	struct scratch *s = scratch();

	return f && s ? forward_oneway(skb, 4, f, slot, s->layout.proto, s->request.tcp_flags, shape) :
			TCX_NEXT;
}

__noinline int forward_oneway_unusual6(struct __sk_buff *skb, u32 slot, u32 shape)
{
	struct flow *f = flow_at(6, slot);
	struct scratch *s = scratch();

	return f && s ? forward_oneway(skb, 6, f, slot, s->layout.proto, s->request.tcp_flags, shape) :
			TCX_NEXT;
}

static __always_inline int forward_oneway_unusual(struct __sk_buff *skb, const u8 af, u32 slot,
						  enum shape shape)
{
	return af == 4 ? forward_oneway_unusual4(skb, slot, shape) :
			 forward_oneway_unusual6(skb, slot, shape);
}

static __always_inline int is_oneway(const u8 af, u32 slot)
{
	struct flow *f = flow_at(af, slot);

	return f && f->ctl & CTL_ONEWAY;
}

static __always_inline int forward_unusual(struct __sk_buff *skb, const u8 af, u32 slot,
					   const enum shape shape)
{
	struct scratch *s = scratch();
	struct flow *f = flow_at(af, slot);

	if (!s || !f)
		return TCX_NEXT;
	if (f->ctl & CTL_CROSS)
		return drop(DROP_CROSS_FAMILY);
	return forward(skb, af, f, slot, shape == SHAPE_GENERAL ? s->layout.l4 : L4_OFFSET(af),
		       s->layout.proto, s->request.tcp_flags, shape, &s->target);
}

__noinline int forward_general4(struct __sk_buff *skb, u32 slot)
{
	return forward_unusual(skb, 4, slot, SHAPE_GENERAL);
}

__noinline int forward_general6(struct __sk_buff *skb, u32 slot)
{
	return forward_unusual(skb, 6, slot, SHAPE_GENERAL);
}

__noinline int forward_fragment4(struct __sk_buff *skb, u32 slot)
{
	return forward_unusual(skb, 4, slot, SHAPE_FRAGMENT);
}

__noinline int forward_fragment6(struct __sk_buff *skb, u32 slot)
{
	return forward_unusual(skb, 6, slot, SHAPE_FRAGMENT);
}

__noinline int forward_error4(struct __sk_buff *skb, u32 slot)
{
	return forward_unusual(skb, 4, slot, SHAPE_ERROR);
}

__noinline int forward_error6(struct __sk_buff *skb, u32 slot)
{
	return forward_unusual(skb, 6, slot, SHAPE_ERROR);
}

/* The flow that a later fragment's first one belonged to, unless its slot changed hands. */
static __always_inline u32 flow_of_fragment(const struct scratch *s, const u8 af)
{
	struct fragment *known = map_lookup(&fragments, &s->fragment);
	struct flow *f;

	if (!known)
		return NO_SLOT;
	f = flow_at(af, known->slot);
	if (!f || (f->ctl & CTL_STATE) != SLOT_LIVE)
		return NO_SLOT;
	return (f->ctl ^ known->ctl) >> CTL_LIFE_SHIFT ? NO_SLOT : known->slot;
}

static __always_inline void remember_fragment(struct scratch *s, const u8 af, u32 slot)
{
	struct flow *f = flow_at(af, slot);
	struct fragment first = { .slot = slot };

	if (!f)
		return;
	first.ctl = f->ctl;
	map_update(&fragments, &s->fragment, &first, UPDATE_ANY);
}

static __always_inline int tc_unusual(struct __sk_buff *skb, const u8 af)
{
	int why = af == 4 ? parse_unusual4(skb) : parse_unusual6(skb);
	struct scratch *s = scratch();
	struct flow *f;
	u32 slot, proto;
	int verdict;

	if (why || !s)
		return pass(why);
	proto = s->layout.proto;
	if (s->layout.fragment == FRAGMENT_LATER) {
		slot = flow_of_fragment(s, af);
		if (slot == NO_SLOT)
			return pass(PASS_FRAGMENT_WITHOUT_FIRST);
		if (is_oneway(af, slot))
			return forward_oneway_unusual(skb, af, slot, SHAPE_FRAGMENT);
		return af == 4 ? forward_fragment4(skb, slot) : forward_fragment6(skb, slot);
	}
	if (proto == (af == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
		slot = af == 4 ? flow_of_error4(skb) : flow_of_error6(skb);
		if (slot == NO_SLOT)
			return af == 4 ? tunnel_error4(skb) : tunnel_error6(skb);
		if (is_oneway(af, slot))
			return forward_oneway_unusual(skb, af, slot, SHAPE_ERROR);
		f = flow_at(af, slot);
		if (f && f->ctl & CTL_CROSS)
			return af == 4 ? cross_error4(skb, slot) : cross_error6(skb, slot);
		return af == 4 ? forward_error4(skb, slot) : forward_error6(skb, slot);
	}
	if (proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP) {
		slot = flow_for(skb, &s->request, af, s->layout.l4, flow_lookup(&s->request.key));
		if (IS_REFUSAL(slot))
			return refuse(skb, af, slot);
		if (s->layout.fragment == FRAGMENT_FIRST)
			remember_fragment(s, af, slot);
		if (is_oneway(af, slot))
			verdict = forward_oneway_unusual(skb, af, slot, SHAPE_GENERAL);
		else
			verdict = af == 4 ? forward_general4(skb, slot) : forward_general6(skb, slot);
		if (unlikely(is_private(af, slot)))
			clear_private(af, slot);
		return verdict;
	}
	return pass(PASS_NOT_TCP_UDP);
}

__noinline int tc_unusual4(struct __sk_buff *skb)
{
	return tc_unusual(skb, 4);
}

__noinline int tc_unusual6(struct __sk_buff *skb)
{
	return tc_unusual(skb, 6);
}

/* Drivers may leave the headers outside the linear part. */
static __always_inline void pull_headers(struct __sk_buff *skb, const u8 af)
{
	u32 want = L4_OFFSET(af) + sizeof(struct tcphdr);

	if (unlikely(packet(skb, HOOK_TC) + want > packet_end(skb, HOOK_TC)))
		skb_pull_data(skb, skb->len < want ? skb->len : want);
}

__noinline int tc_ip4(struct __sk_buff *skb)
{
	struct request q = { .ifindex = skb->ifindex, .mark = skb->mark };

	pull_headers(skb, 4);
	if (likely(parse_plain(skb, HOOK_TC, 4, &q)))
		return tc_plain(skb, 4, &q);
	return tc_unusual4(skb);
}

__noinline int tc_ip6(struct __sk_buff *skb)
{
	struct scratch *s = scratch();
	struct request *q;

	if (!s)
		return TCX_NEXT;
	q = &s->request;
	q->ifindex = skb->ifindex;
	q->mark = skb->mark;
	q->key.zero = 0;
	pull_headers(skb, 6);
	if (likely(parse_plain(skb, HOOK_TC, 6, q)))
		return tc_plain(skb, 6, q);
	return tc_unusual6(skb);
}

static __always_inline int tc_packet(struct __sk_buff *skb)
{
	if (unlikely(skb->pkt_type == PACKET_OTHERHOST))
		return pass(PASS_OTHER_HOST);
	if (unlikely(skb->vlan_present))
		return pass(PASS_VLAN);
	if (likely(skb->protocol == htons(ETH_P_IP)))
		return tc_ip4(skb);
	if (skb->protocol == htons(ETH_P_IPV6))
		return tc_ip6(skb);
	if (skb->protocol == htons(ETH_P_8021Q) || skb->protocol == htons(ETH_P_8021AD))
		return pass(PASS_VLAN);
	return pass(PASS_NOT_IP);
}
