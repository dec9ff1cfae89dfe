// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The datapath: one source, several programs on the same maps.
 *
 *   tc     every packet an interface receives; knows every case
 *   xdp    the same packets earlier; established flows only, the rest is left to tc
 *   reply  answers of IPVS's real servers on this host, where they leave it
 *   sweep  run by the control plane once a second: expires flows
 *   sync   run by the control plane: takes up connections of another director
 *   cut    run by the control plane: ends the connections of a real server, or one alone
 */
#include "reply.h"
#include "xdp.h"
#include "sweep.h"
#include "sync_take.h"
#include "cut.h"

char _license[] SEC("license") = "Dual BSD/GPL";

SEC("tc") int penstock_tc(struct __sk_buff *skb)
{
	return tc_packet(skb);
}

SEC("tc") int penstock_reply(struct __sk_buff *skb)
{
	return reply_packet(skb);
}

SEC("xdp") int penstock_xdp(struct xdp_md *xdp)
{
	return xdp_packet(xdp);
}

SEC("syscall") int penstock_sweep(void *ctx)
{
	sweep_tables();
	return 0;
}

SEC("syscall") int penstock_sync(void *ctx)
{
	return take_all();
}

SEC("syscall") int penstock_cut(void *ctx)
{
	return cut_all();
}
