/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_ctl: any packet on the Unix socket, read by either end. A request
 * that is accepted encodes to the same bytes again.
 */
#include "ctlmsg.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static void read_request(const uint8_t *data, size_t size)
{
	uint8_t again[CTL_REQUEST_MAX];
	struct ctl_request q;

	if (ctlmsg_get_request(data, size, &q))
		return;
	check(q.type > 0 && q.type < CTL_TYPE_MAX);
	check(ctlmsg_put_request(&q, again) == size);
	check(memcmp(again, data, size) == 0);
}

static void read_records(struct ctl_answer *a)
{
	struct ctl_flow f;
	struct ctl_peer p;
	unsigned int n = a->n, i = 0;

	if (a->type == CTL_FLOW_RECORDS)
		for (; ctlmsg_next_flow(a, &f) == 1; i++) {
			check(f.state < CTL_FLOW_STATES);
			check(f.trust < CTL_TRUSTS && f.reason < REASON_MAX);
			check(memchr(f.peer, 0, sizeof(f.peer)));
		}
	else
		for (; ctlmsg_next_peer(a, &p) == 1; i++) {
			check(p.n_addresses <= CTL_PEER_ADDRS_MAX);
			check(memchr(p.name, 0, sizeof(p.name)));
		}
	check(i <= n);
}

static void read_answer(const uint8_t *data, size_t size)
{
	char fingerprint[CTL_NAME_MAX];
	uint8_t key[CTL_KEY_SIZE];
	struct ctl_status s;
	struct ctl_answer a;
	struct ctl_event e;

	if (ctlmsg_get_answer(data, size, &a))
		return;
	switch (a.type) {
	case CTL_END:
		check(memchr(a.text, 0, sizeof(a.text)));
		check(a.result <= CTL_NOT_PERMITTED);
		break;
	case CTL_FLOW_RECORDS:
	case CTL_PEER_RECORDS:
		read_records(&a);
		break;
	case CTL_STATUS_RECORD:
		if (!ctlmsg_get_status(&a, &s))
			check(memchr(s.version, 0, sizeof(s.version)));
		break;
	case CTL_KEY_RECORD:
		if (!ctlmsg_get_key(&a, fingerprint, key))
			check(memchr(fingerprint, 0, sizeof(fingerprint)));
		break;
	case CTL_EVENT:
		if (!ctlmsg_get_event(&a, &e))
			check(memchr(e.text, 0, sizeof(e.text)));
		break;
	default:
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_request(data, size);
	read_answer(data, size);
	return 0;
}
