/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is counted for the addresses that connections come from. */
#pragma once
#include "flow_words.h"

/* The exact clock: the sweep, to whom the coarse one is not open, ends connections too. */
static __always_inline u32 now_ms(void)
{
	return ktime_get_ns() / 1000000;
}

/* Another CPU may have written *then* a moment after our clock was read; 2^32 ms are 49 days. */
static __always_inline u32 ms_since(u32 then, u32 now)
{
	return now - then > 0xffffff00u ? 0 : now - then;
}

static __always_inline void source_of(struct source_key *k, u32 af, const be32 *addr)
{
	if (af == 4) {
		k->addr[0] = 0;
		k->addr[1] = 0;
		k->addr[2] = htonl(0xffff);
		k->addr[3] = addr[0];
	} else {
		__builtin_memcpy(k->addr, addr, 16);
	}
}

static __always_inline struct source *source_in(u32 table, const struct source_key *k)
{
	void *map = map_lookup(&sources, &table);

	return map ? map_lookup(map, k) : NULL;
}

/* An element that had to make room for others came back without them. */
static __always_inline void one_less(u32 *n)
{
	if (*n)
		__sync_fetch_and_add(n, -1);
}

/* The connection of a forward slot has ended, and is no longer one of its source's. */
__noinline u32 source_left(u32 af, u32 slot)
{
	struct flow *f = af == 4 ? flow_at(4, slot) : flow_at(6, slot);
	struct source_key k;
	struct source *e;

	if (!f)
		return 0;
	source_of(&k, af, af == 4 ? &((struct flow4 *)f)->saddr : ((struct flow6 *)f)->saddr);
	e = source_in(f->table, &k);
	if (!e)
		return 0;
	one_less(&e->conns);
	e->seen = now_ms();
	return 0;
}
