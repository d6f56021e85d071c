/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctl_answer: who may ask what, and what is answered.
 *
 * Owns the table of commands and permissions, and the steps in which a
 * listing is made. Never touches a descriptor: answers are left in the
 * client's `out`.
 */
#include "ctl_impl.h"

#include <stdio.h>
#include <string.h>

#define FLOWS_PER_STEP 40 /* of at most 340 bytes: fit one message */
#define PEERS_PER_STEP 32 /* of at most 350 bytes */

static void client_end(struct ctl_client *c, enum ctl_result result,
		       const char *text)
{
	c->out_len = ctlmsg_put_end(result, text, c->out, sizeof(c->out));
	if (c->mode != MODE_MONITOR)
		c->mode = MODE_IDLE;
}

enum permission {
	ANYONE, /* and others' flows only to root and the group */
	OPERATORS,
	ROOT,
};

static const struct {
	const char *name;
	enum permission who;
} commands[CTL_TYPE_MAX] = {
	[CTL_LIST] = { "list", ANYONE },
	[CTL_SHOW] = { "show", ANYONE },
	[CTL_PEERS] = { "peers", OPERATORS },
	[CTL_STATUS] = { "status", ANYONE },
	[CTL_KEY] = { "key", ROOT },
	[CTL_FORGET] = { "forget", ROOT },
	[CTL_MOVE] = { "move", ROOT },
	[CTL_MONITOR] = { "monitor", ANYONE },
};

static bool permitted(enum ctl_type type, const struct ctl_caller *who)
{
	switch (commands[type].who) {
	case ANYONE:
		return true;
	case OPERATORS:
		return who->sees_all;
	case ROOT:
		break;
	}
	return who->uid == 0;
}

bool ctl_answer_visible(const struct ctl_caller *who, uint32_t owner)
{
	return who->sees_all || (owner != CTL_UID_NONE && owner == who->uid);
}

void ctl_answer_refuse(struct ctl *ctl, struct ctl_client *c,
		       enum ctl_result result, const char *text)
{
	ctl->counters->value[COUNTER_CTL_REFUSED]++;
	client_end(c, result, text);
}

static void do_show(struct ctl *ctl, struct ctl_client *c,
		    const struct ctl_caller *who, uint64_t id)
{
	struct ctl_flow flow;
	unsigned int n = 1;

	memset(&flow, 0, sizeof(flow));
	if (id == 0 || ctl->ops->flow(ctl->ctx, id, &flow) < 0) {
		ctl_answer_refuse(ctl, c, CTL_REFUSED,
				  "no such flow; see sacipctl list");
		return;
	}
	if (!ctl_answer_visible(who, flow.uid)) {
		ctl_answer_refuse(ctl, c, CTL_NOT_PERMITTED,
				  "another user's flow: only for root and the "
				  "socket's group");
		return;
	}
	c->out_len = ctlmsg_put_flows(&flow, &n, c->out, sizeof(c->out));
}

static void do_status(struct ctl *ctl, struct ctl_client *c,
		      const struct ctl_caller *who)
{
	struct ctl_status status;

	memset(&status, 0, sizeof(status));
	ctl->ops->status(ctl->ctx, &status);
	/* Scanners learn no key, and so do local users. */
	if (!who->sees_all)
		memset(status.fingerprint, 0, sizeof(status.fingerprint));
	c->out_len = ctlmsg_put_status(&status, c->out, sizeof(c->out));
}

static void do_key(struct ctl *ctl, struct ctl_client *c)
{
	char fingerprint[CTL_NAME_MAX] = "";
	uint8_t public_key[CTL_KEY_SIZE] = { 0 };

	ctl->ops->key(ctl->ctx, fingerprint, public_key);
	c->out_len =
		ctlmsg_put_key(fingerprint, public_key, c->out, sizeof(c->out));
}

static void do_change(struct ctl *ctl, struct ctl_client *c,
		      const struct ctl_request *q)
{
	char text[CTL_TEXT_MAX] = "";
	int err;

	if (q->type == CTL_FORGET)
		err = ctl->ops->forget(ctl->ctx, q->peer, text);
	else
		err = ctl->ops->move(ctl->ctx, &q->move, text);
	if (err < 0)
		ctl_answer_refuse(ctl, c, CTL_REFUSED,
				  text[0] ? text : strerror(-err));
	else
		client_end(c, CTL_DONE, text);
}

void ctl_answer_request(struct ctl *ctl, struct ctl_client *c,
			const struct ctl_caller *who,
			const struct ctl_request *q)
{
	char text[CTL_TEXT_MAX];

	if (!permitted(q->type, who)) {
		snprintf(text, sizeof(text), "%s: only for root%s",
			 commands[q->type].name,
			 commands[q->type].who == OPERATORS
				 ? " and the socket's group"
				 : "");
		ctl_answer_refuse(ctl, c, CTL_NOT_PERMITTED, text);
		return;
	}
	c->sees_all = who->sees_all;
	c->uid = who->uid;
	c->cursor = c->hidden = 0;
	switch (q->type) {
	case CTL_LIST:
		c->mode = MODE_FLOWS;
		break;
	case CTL_PEERS:
		c->mode = MODE_PEERS;
		break;
	case CTL_MONITOR:
		c->mode = MODE_MONITOR;
		ctl->n_monitors++;
		/* Tells the client that from now on nothing is missed. */
		client_end(c, CTL_DONE, "");
		break;
	case CTL_SHOW:
		do_show(ctl, c, who, q->flow);
		break;
	case CTL_STATUS:
		do_status(ctl, c, who);
		break;
	case CTL_KEY:
		do_key(ctl, c);
		break;
	default:
		do_change(ctl, c, q);
		break;
	}
}

/* Whose list is empty shall not think that there is nothing. How many there
 * are, status tells everybody. */
static void end_flows(struct ctl_client *c)
{
	char text[CTL_TEXT_MAX] = "";

	if (c->hidden)
		snprintf(text, sizeof(text), "%llu flow%s of other users not "
			 "shown: root and the socket's group see all",
			 (unsigned long long)c->hidden,
			 c->hidden == 1 ? "" : "s");
	client_end(c, CTL_DONE, text);
}

/* Puts the next flows that the client may see into `out`; an END where
 * there are no more. */
static void step_flows(struct ctl *ctl, struct ctl_client *c)
{
	const struct ctl_caller who = { c->uid, c->sees_all };
	struct ctl_flow flow[FLOWS_PER_STEP];
	unsigned int kept = 0;
	size_t n;

	memset(flow, 0, sizeof(flow));
	n = ctl->ops->flows(ctl->ctx, &c->cursor, flow, FLOWS_PER_STEP);
	if (n == 0) {
		end_flows(c);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (ctl_answer_visible(&who, flow[i].uid))
			flow[kept++] = flow[i];
	c->hidden += n - kept;
	if (kept)
		c->out_len =
			ctlmsg_put_flows(flow, &kept, c->out, sizeof(c->out));
}

static void step_peers(struct ctl *ctl, struct ctl_client *c)
{
	struct ctl_peer peer[PEERS_PER_STEP];
	unsigned int n;

	memset(peer, 0, sizeof(peer));
	n = (unsigned int)ctl->ops->peers(ctl->ctx, &c->cursor, peer,
					  PEERS_PER_STEP);
	if (n == 0)
		client_end(c, CTL_DONE, "");
	else
		c->out_len = ctlmsg_put_peers(peer, &n, c->out, sizeof(c->out));
}

/* A monitor that has room again is told what it missed. */
static void tell_lost(struct ctl *ctl, struct ctl_client *c)
{
	struct ctl_event e = { .time_ms = ctl->last_event_ms };

	snprintf(e.what, sizeof(e.what), "lost");
	snprintf(e.text, sizeof(e.text), "%llu events were lost here",
		 (unsigned long long)c->lost);
	c->lost = 0;
	c->out_len = ctlmsg_put_event(&e, c->out, sizeof(c->out));
}

bool ctl_answer_step(struct ctl *ctl, struct ctl_client *c)
{
	if (c->mode == MODE_FLOWS)
		step_flows(ctl, c);
	else if (c->mode == MODE_PEERS)
		step_peers(ctl, c);
	else if (c->mode == MODE_MONITOR && c->lost)
		tell_lost(ctl, c);
	else
		return false;
	return true;
}
