/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The connection table: hopscotch hashing over one big array for each family.
 *
 * A slot's place in life is its ctl word. FREE -> BUSY by compare-and-swap: whoever wins owns the
 * slot, fills it and publishes LIVE. LIVE -> BUSY by compare-and-swap to take it down. All other
 * bits change by compare-and-swap too, and the upper half counts the slot's lives, so that nobody
 * changes a slot that has been reused under its feet. A slot is taken down only when no packet has
 * used it for EVICT_AGE at least, which is far longer than a program run: a reader that has just
 * matched a key needs no lock and no second look.
 */
#pragma once
#include "ipvs_count.h"
#include "outcome.h"
#include "source.h"

static __always_inline u64 mix(u64 h)
{
	h *= 0xff51afd7ed558ccdULL; /* MurmurHash3's finalizer constants */
	return h ^ (h >> 32);
}

static __always_inline u32 flow_home(const struct key *k, const u8 af)
{
	u64 ports = (u64)k->sport | (u64)k->dport << 16 | (u64)k->proto << 32;
	u64 h;

	if (af == 4) {
		h = mix(((u64)k->saddr[0] << 32 | k->daddr[0]) ^ hash_seed);
	} else {
		h = mix(((u64)k->saddr[0] << 32 | k->saddr[1]) ^ hash_seed);
		h = mix(h ^ ((u64)k->saddr[2] << 32 | k->saddr[3]));
		h = mix(h ^ ((u64)k->daddr[0] << 32 | k->daddr[1]));
		h = mix(h ^ ((u64)k->daddr[2] << 32 | k->daddr[3]));
	}
	h = mix(mix(h ^ ports));
	return (u64)(u32)h * (af == 4 ? flow4_slots : flow6_slots) >> 32;
}

static __always_inline int same_words(const be32 *a, const be32 *b)
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

static __always_inline int flow_matches(const struct flow *f, const struct key *k, const u8 af)
{
	u32 want = SLOT_LIVE | ctl_of_proto(k->proto);

	if ((*(volatile u32 *)&f->ctl & (CTL_STATE | CTL_PROTO)) != want)
		return 0;
	barrier();
	if (af == 4) {
		const struct flow4 *f4 = (const void *)f;

		return f4->saddr == k->saddr[0] && f4->daddr == k->daddr[0] &&
		       f4->sport == k->sport && f4->dport == k->dport;
	}
	const struct flow6 *f6 = (const void *)f;

	return f6->sport == k->sport && f6->dport == k->dport &&
	       same_words(f6->saddr, k->saddr) && same_words(f6->daddr, k->daddr);
}

/* Counts the ones below the lowest bit: branches here would multiply what the verifier must see. */
static __always_inline u32 lowest_bit(u64 x)
{
	x = (x & -x) - 1;
	x -= x >> 1 & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	return ((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL) * 0x0101010101010101ULL >> 56;
}

static __always_inline u32 find_in_hop(const struct key *k, const u8 af, u32 home, u32 hop)
{
	for (int i = 0; i < HOP_RANGE && hop; i++) {
		u32 slot = home + lowest_bit(hop);
		struct flow *f = flow_at(af, slot);

		if (!f)
			return NO_SLOT;
		if (flow_matches(f, k, af))
			return slot;
		hop &= hop - 1;
	}
	return NO_SLOT;
}

static __always_inline u32 find(const struct key *k, const u8 af)
{
	u32 home = flow_home(k, af);
	struct flow *f = flow_at(af, home);

	return f ? find_in_hop(k, af, home, f->hop) : NO_SLOT;
}

/*
 * The slot of a flow, or NO_SLOT. Functions without `static` are verified once, on their own,
 * whoever calls them.
 */
__noinline u32 flow_lookup(const struct key *k)
{
	if (!k)
		return NO_SLOT;
	return k->af == 4 ? find(k, 4) : find(k, 6);
}

/* The same for a packet: most flows sit in their home slot, a look that is worth inlining. */
static __always_inline u32 flow_find(const struct key *k, const u8 af)
{
	u32 home = flow_home(k, af);
	struct flow *f = flow_at(af, home);

	return likely(f && flow_matches(f, k, af)) ? home : flow_lookup(k);
}

static __always_inline void mark_occupied(const u8 af, u32 slot, int on)
{
	u32 word = slot >> 6;
	u64 bit = 1ULL << (slot & 63);
	u64 *w = af == 4 ? map_lookup(&occupied4, &word) : map_lookup(&occupied6, &word);

	if (!w)
		return;
	if (on)
		__sync_fetch_and_or(w, bit);
	else
		__sync_fetch_and_and(w, ~bit);
}

/* Takes the flow out of the live counts; the caller has cleared CTL_COUNTED and so owns this. */
static __always_inline void uncount(u32 service, u32 real)
{
	struct service_live *s = map_lookup(&service_lives, &service);
	struct real_live *r = map_lookup(&real_lives, &real);
	struct control *c = control();

	if (s)
		__sync_fetch_and_add(&s->conns, -1);
	if (r)
		__sync_fetch_and_add(&r->conns, -1);
	if (c)
		__sync_fetch_and_add(&c->conns, -1);
}

/* Takes down one slot if it still is what *ctl* says. */
static __always_inline int slot_release(const u8 af, u32 slot, struct flow *f, u32 ctl)
{
	u32 life = ctl >> CTL_LIFE_SHIFT << CTL_LIFE_SHIFT;
	u32 dist = f->dist & (HOP_RANGE - 1);
	struct flow *h;

	if (__sync_val_compare_and_swap(&f->ctl, ctl, SLOT_BUSY | life) != ctl)
		return 0;
	if (ctl & CTL_COUNTED) {
		log_end(f, af, slot, ctl, LOG_SILENT);
		outcome_ended(af, slot, ctl, LOG_SILENT);
		if (f->table)
			source_left(af, slot);
		if (!(ctl & CTL_IPVS))
			uncount(f->service, f->real);
		else if (af == 4)
			ipvs_uncount4(slot, ctl);
		else
			ipvs_uncount6(slot, ctl);
	}
	h = flow_at(af, slot - dist);
	if (h)
		__sync_fetch_and_and(&h->hop, ~(1u << dist));
	mark_occupied(af, slot, 0);
	__sync_lock_test_and_set(&f->ctl, SLOT_FREE | life);
	return 1;
}

static __always_inline int are_peers(const struct flow *f, u32 slot, const struct flow *p)
{
	return (p->ctl & CTL_STATE) == SLOT_LIVE && p->peer == slot &&
	       (p->ctl ^ f->ctl) & CTL_REVERSE;
}

/* The other direction, when it really is this one's. */
static __always_inline struct flow *peer_of(const u8 af, const struct flow *f, u32 slot)
{
	u8 peer_af = f->ctl & CTL_CROSS ? 10 - af : af;
	struct flow *p = peer_af == 4 ? flow_at(4, f->peer) : flow_at(6, f->peer);

	return p && are_peers(f, slot, p) ? p : NULL;
}

static __always_inline void flow_kill(const u8 af, u32 slot, struct flow *f)
{
	struct flow *p = peer_of(af, f, slot);
	u32 ctl = f->ctl, peer = f->peer;
	struct control *c = control();

	if ((ctl & CTL_STATE) != SLOT_LIVE)
		return;
	if (slot_release(af, slot, f, ctl) && c)
		__sync_fetch_and_add(&c->flows, -1);
	if (!p)
		return;
	if ((ctl & CTL_CROSS ? 10 - af : af) == 4)
		slot_release(4, peer, p, p->ctl);
	else
		slot_release(6, peer, p, p->ctl);
}

/* Takes a flow down, both directions. Returns 0; here so that the verifier sees it once. */
__noinline u32 flow_end(u32 af, u32 slot)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);

	if (!f)
		return 0;
	if (af == 4)
		flow_kill(4, slot, f);
	else
		flow_kill(6, slot, f);
	return 0;
}

/* Ticks since either direction saw a packet. */
static __always_inline u32 flow_age(const u8 af, const struct flow *f, u32 slot, u32 now)
{
	struct flow *p = peer_of(af, f, slot);
	u32 age = now - f->seen;

	if ((s32)age < 0)
		age = 0;
	if (p && (s32)(now - p->seen) < (s32)age)
		age = (s32)(now - p->seen) < 0 ? 0 : now - p->seen;
	return age;
}

static __always_inline int is_unanswered(const struct flow *f)
{
	return !(f->ctl & CTL_PROTO) && (f->word & WORD_STATE) == TCP_S_SYN_RECV;
}

/* May it make room for a new flow? Finished ones, silent UDP ones, unanswered SYNs. */
static __always_inline int evictable(const u8 af, const struct flow *f, u32 slot, u32 now)
{
	u32 ctl = f->ctl, age;

	if ((ctl & CTL_STATE) != SLOT_LIVE)
		return 0;
	age = flow_age(af, f, slot, now);
	if (ctl & CTL_CLOSED)
		return age >= EVICT_AGE;
	if (ctl & CTL_UDP)
		return age >= EVICT_UDP_AGE;
	if (ctl & CTL_IPVS)
		return ctl & CTL_INACTIVE ? age >= EVICT_AGE :
					    is_unanswered(f) && age >= EVICT_SYN_AGE;
	return !(ctl & CTL_REPLIED) && age >= EVICT_SYN_AGE;
}

/* *victim*, if there is one so far, else the slot if it may be one. */
__noinline u32 victim4(u32 victim, u32 slot, u32 now)
{
	struct flow *f = flow_at(4, slot);

	return victim == NO_SLOT && f && evictable(4, f, slot, now) ? slot : victim;
}

__noinline u32 victim6(u32 victim, u32 slot, u32 now)
{
	struct flow *f = flow_at(6, slot);

	return victim == NO_SLOT && f && evictable(6, f, slot, now) ? slot : victim;
}

static __always_inline int slot_claim(struct flow *f, u32 ctl)
{
	u32 life = (ctl >> CTL_LIFE_SHIFT) + 1;

	return (ctl & CTL_STATE) == SLOT_FREE &&
	       __sync_val_compare_and_swap(&f->ctl, ctl, SLOT_BUSY | life << CTL_LIFE_SHIFT) == ctl;
}

static __always_inline u32 claim_near(const u8 af, u32 home, u32 now)
{
	u32 victim = NO_SLOT;

	for (u32 d = 0; d < HOP_RANGE; d++) {
		u32 slot = home + d;
		struct flow *f = flow_at(af, slot);

		if (!f)
			return NO_SLOT;
		if (slot_claim(f, f->ctl))
			return slot;
		victim = af == 4 ? victim4(victim, slot, now) : victim6(victim, slot, now);
	}
	if (victim != NO_SLOT) {
		struct flow *f = flow_at(af, victim);

		if (!f)
			return NO_SLOT;
		flow_end(af, victim);
		count(EVENT_FLOW_EVICTED);
		if (slot_claim(f, f->ctl))
			return victim;
	}
	return NO_SLOT;
}

static __always_inline void fill(const u8 af, struct flow *f, const struct key *k,
				 const struct rewrite *r, u32 now)
{
	f->seen = now;
	f->peer = r->peer;
	f->real = r->real;
	f->hop_stamp = 0;
	f->word = r->word;
	f->service = r->service;
	f->table = r->table;
	if (af == 4) {
		struct flow4 *f4 = (void *)f;

		f4->saddr = k->saddr[0];
		f4->daddr = k->daddr[0];
		f4->sport = k->sport;
		f4->dport = k->dport;
		f4->nsaddr = r->saddr[0];
		f4->ndaddr = r->daddr[0];
		f4->nsport = r->sport;
		f4->ndport = r->dport;
	} else {
		struct flow6 *f6 = (void *)f;

		__builtin_memcpy(f6->saddr, k->saddr, 16);
		__builtin_memcpy(f6->daddr, k->daddr, 16);
		f6->sport = k->sport;
		f6->dport = k->dport;
		__builtin_memcpy(f6->nsaddr, r->saddr, 16);
		__builtin_memcpy(f6->ndaddr, r->daddr, 16);
		f6->nsport = r->sport;
		f6->ndport = r->dport;
	}
}

/* The verifier does not look into a call: to it any number comes out, and not one of many known. */
__noinline u32 any_number(u32 x)
{
	opaque(x);
	return x;
}

/* A loop that compares numbers itself forks at every turn. */
__noinline u64 greater(u64 a, u64 b)
{
	return a > b ? a : b;
}

static __always_inline u32 insert(const u8 af, const struct key *k, const struct rewrite *r)
{
	u32 home = flow_home(k, af), now = exact_tick();
	u32 slot = any_number(claim_near(af, home, now));
	struct flow *f = flow_at(af, slot), *h = flow_at(af, home);

	if (slot == NO_SLOT || !f || !h)
		return NO_SLOT;
	fill(af, f, k, r, now);
	f->dist = slot - home;
	/* An atomic store is a full barrier: the slot is published after its contents. */
	__sync_lock_test_and_set(&f->ctl, (f->ctl & ~0xffffu) | SLOT_LIVE | ctl_of_proto(k->proto) |
						  r->ctl);
	__sync_fetch_and_or(&h->hop, 1u << ((slot - home) & 31));
	mark_occupied(af, slot, 1);
	return slot;
}

__noinline u32 flow_insert4(const struct key *k, const struct rewrite *r)
{
	return k && r ? insert(4, k, r) : NO_SLOT;
}

__noinline u32 flow_insert6(const struct key *k, const struct rewrite *r)
{
	return k && r ? insert(6, k, r) : NO_SLOT;
}

/* Sets bits in a slot; returns the ctl from before, or 0 when the slot changed hands. */
static __always_inline u32 ctl_change(struct flow *f, u32 set, u32 clear)
{
	u32 ctl = f->ctl, life = ctl >> CTL_LIFE_SHIFT;

	for (int i = 0; i < 4; i++) {
		u32 was;

		if ((ctl & CTL_STATE) != SLOT_LIVE || ctl >> CTL_LIFE_SHIFT != life)
			return 0;
		was = __sync_val_compare_and_swap(&f->ctl, ctl, (ctl | set) & ~clear);
		if (was == ctl)
			return ctl;
		ctl = was;
	}
	return 0;
}
