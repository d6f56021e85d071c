/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * script: what happens to the two hosts.
 *
 * Owns the parts of a schedule, and the troubles: addresses and routes that come
 * and go, paths that break, hosts that sleep, daemons that die, kernels that
 * refuse, strangers.
 */
#include "sim.h"

#include <stddef.h>
#include <string.h>

#define SETTLE_MS 120000 /* rest by then, once the trouble is over */

/* From here on random numbers of its own. */
static void begin_part(struct world *w, enum script_part part, unsigned int i)
{
	w->random_state = w->script.seed;
	w->random_state = world_random(w) + (part + 1) * 64 + i;
	w->random_state = world_random(w);
}

static bool has(const struct world *w, enum script_part part, unsigned int i)
{
	return w->script.part[part] & 1u << i;
}

/* ------------------------------------------------------------- trouble */

int random_own(struct world *w, const struct host *h)
{
	unsigned int i = world_pick(w, ADDRS);

	for (unsigned int k = 0; k < ADDRS; k++)
		if (h->owned[(i + k) % ADDRS])
			return (int)((i + k) % ADDRS);
	return NO_ADDR;
}

/* Tells each track what is different; the loss of an address at once, what
 * is merely better after a while of quiet. */
static void changed(struct world *w, struct host *h)
{
	struct dgram later = { .kind = D_SITUATION, .from_host = h->id,
			       .cause = MIGRATE_CAUSE_BETTER_ROUTE,
			       .outside = true };

	host_news(w, h);
	for (unsigned int t = 0; t < MOVERS && !w->failed; t++) {
		const struct mover *m = &h->mover[t];
		int at = sim_addr_number(&m->sending.addr) % ADDRS;
		struct locator best = host_candidate(w, h, t, NO_ADDR);
		bool gone = !h->owned[at] ||
			    !h->owned[sim_addr_number(&m->current.addr) %
				      ADDRS];

		host_situation(w, h, t, gone ? MIGRATE_CAUSE_GONE :
					       MIGRATE_CAUSE_REFRESH, NULL);
		if (!gone && addr_is_set(&best.addr) &&
		    !locator_equal(&best, &m->current)) {
			later.track = t;
			later.cause = h->deprecated[at] ?
					      MIGRATE_CAUSE_DEPRECATED :
					      MIGRATE_CAUSE_BETTER_ROUTE;
			world_post(w, w->now + 100, &later);
		}
	}
}

static void addr_add(struct world *w, struct host *h, int i)
{
	tell(w, "host %d: address %d comes", h->id, h->id * ADDRS + i);
	h->owned[i] = true;
	h->deprecated[i] = false;
	w->stranger[h->id * ADDRS + i] = false;
	changed(w, h);
}

static void addr_del(struct world *w, struct host *h, int i)
{
	tell(w, "host %d: address %d goes", h->id, h->id * ADDRS + i);
	h->owned[i] = false;
	post_addr_gone(h, i);
	w->stranger[h->id * ADDRS + i] = world_chance(w, 300);
	changed(w, h);
}

static void prefer(struct world *w, struct host *h, unsigned int track)
{
	uint8_t *p = h->preference[track];
	unsigned int n = world_pick(w, ADDRS);
	uint8_t first = p[n];

	memmove(p + 1, p, n);
	p[0] = first;
}

static int used(const struct host *h, unsigned int track)
{
	return sim_addr_number(&h->mover[track].sending.addr) % ADDRS;
}

static void by_operator(struct world *w, struct host *h, unsigned int track)
{
	struct dgram d = { .kind = D_SITUATION, .from_host = h->id,
			   .track = track, .has_candidate = true,
			   .outside = true };
	int i = random_own(w, h);

	if (i == NO_ADDR)
		return;
	d.cause = MIGRATE_CAUSE_OPERATOR;
	d.to.addr = sim_addr(h->id * ADDRS + i);
	d.to.ports = h->mover[track].sending.ports;
	if (world_chance(w, 300)) { /* a new connection wants its port */
		d.cause = MIGRATE_CAUSE_PORTS;
		d.to = h->mover[track].current;
		d.to.ports = ++h->ports_made;
	} else if (world_chance(w, 150)) { /* does it carry flows by now? */
		d.cause = MIGRATE_CAUSE_TRY;
		d.has_candidate = false;
	}
	world_post(w, w->now, &d);
}

static void pause_host(struct world *w, struct host *h, bool asleep,
		       unsigned int most_ms)
{
	struct dgram d = { .kind = D_RESUME, .from_host = h->id };

	if (h->asleep || h->stopped)
		return;
	tell(w, "host %d: %s", h->id, asleep ? "sleeps" : "daemon stopped");
	h->asleep = asleep;
	h->stopped = !asleep;
	h->resume_ms = w->now + 1 + world_pick(w, most_ms);
	world_post(w, h->resume_ms, &d);
}

static void del_all(struct world *w, struct host *h)
{
	for (int i = 0; i < ADDRS; i++)
		if (h->owned[i])
			addr_del(w, h, i);
}

static void checks_differ(struct world *w, struct host *h)
{
	unsigned int peer = (unsigned int)(1 - h->id) * ADDRS;

	switch (world_pick(w, 5)) {
	case 0:
		peer += world_pick(w, ADDRS);
		h->denied[peer] = !h->denied[peer];
		break;
	case 1:
		peer += world_pick(w, ADDRS);
		h->taken[peer] = !h->taken[peer];
		break;
	case 2:
		h->digest_differs[world_pick(w, TRACKS)] = true;
		break;
	case 3:
		h->at_limit = !h->at_limit;
		break;
	case 4: /* its tokens are used up, the mover's are not */
		for (unsigned int t = 0; t < TRACKS; t++)
			while (bucket_take(&h->answers[t], &migrate_numbers,
					   w->now))
				;
		break;
	}
}

/* In the middle of a move the daemon is busy; what it reads first then is
 * that all addresses are gone, and what next are the answers. */
static void too_late(struct world *w, struct host *h, unsigned int track)
{
	int i = (int)world_pick(w, ADDRS);

	addr_add(w, h, i);
	prefer(w, h, track);
	if (world_chance(w, 300))
		checks_differ(w, &w->host[1 - h->id]);
	changed(w, h);
	by_operator(w, h, track);
	world_run(w, w->now + world_pick(w, 3 * w->delay_ms + 150));
	pause_host(w, h, false, 4 * w->delay_ms + 50);
	world_run(w, w->now + world_pick(w, w->delay_ms + 10));
	del_all(w, h);
}

/* A peer says in SYNC what is not so: that it is elsewhere, or that it has
 * forgotten all. */
static void lie(struct world *w, struct host *h)
{
	struct host *p = host_peer(w, h);
	int from = random_own(w, h), to = random_own(w, p);
	struct dgram d = { .kind = D_SYNC, .from_host = h->id, .forged = true,
			   .answer = true, .session = h->session };
	bool forgot = world_chance(w, 500);

	if (from == NO_ADDR || to == NO_ADDR || !h->up || !h->session ||
	    w->amnesia)
		return;
	d.src = h->id * ADDRS + from;
	d.dst = p->id * ADDRS + to;
	for (unsigned int t = 0; t < TRACKS; t++) {
		d.own[t].committed = h->mover[t].committed + !forgot *
				     (1 + world_pick(w, 3));
		d.own[t].locator = sim_addr(h->id * ADDRS +
					    (int)world_pick(w, ADDRS));
		d.theirs[t] = forgot ? 0 : h->follower[t].committed;
		d.track_number[t] = h->mover[t].track;
		d.their_number[t] = h->follower[t].track;
	}
	d.digest = member_digest(h, true, ALL_TRACKS);
	d.len = post_size(&d);
	tell(w, "host %d: lies", h->id);
	host_disturb(w, p);
	world_send(w, &d);
}

/* A host that has sent PROVE is not to hear of DONE. */
static bool deafen(struct world *w, struct host *h, unsigned int track)
{
	int n = h->id * ADDRS + used(h, track);

	if (h->mover[track].state != MOVER_SWITCHED || !world_chance(w, 300))
		return false;
	for (unsigned int i = 0; i < ALL_ADDRS; i++)
		w->blocked[i][n] = true;
	tell(w, "path to %d: blocked", n);
	return true;
}

static void block(struct world *w, bool on)
{
	unsigned int a = world_pick(w, ADDRS), b = ADDRS + world_pick(w, ADDRS);
	unsigned int how = world_pick(w, 4);

	if (world_chance(w, 500)) { /* one that matters */
		a = (unsigned int)used(&w->host[0], world_pick(w, TRACKS));
		b = ADDRS + (unsigned int)used(&w->host[1],
					       world_pick(w, TRACKS));
	}
	for (unsigned int i = 0; i < ALL_ADDRS; i++) {
		if (how == 3) { /* the whole link of `a` */
			w->blocked[a][i] = on;
			w->blocked[i][a] = on;
		}
	}
	if (how != 1)
		w->blocked[a][b] = on;
	if (how != 2)
		w->blocked[b][a] = on;
	tell(w, "path %u, %u: %s %u", a, b, on ? "blocked" : "free", how);
}

/* What passes a firewall between two addresses is messages alone, one way or
 * both, until `on` is false. */
static void unfit(struct world *w, bool on)
{
	unsigned int a = world_pick(w, ADDRS), b = ADDRS + world_pick(w, ADDRS);
	unsigned int how = world_pick(w, 4);

	if (world_chance(w, 500))
		b = ADDRS + (unsigned int)used(&w->host[1],
					       world_pick(w, TRACKS));
	else if (world_chance(w, 500))
		a = (unsigned int)used(&w->host[0], world_pick(w, TRACKS));
	if (how != 1)
		w->unfit_ms[a][b] = on ? w->now : 0;
	if (how != 2)
		w->unfit_ms[b][a] = on ? w->now : 0;
	tell(w, "path %u, %u: %s %u", a, b, on ? "unfit" : "fit", how);
}

/* One wish after the other on a bad path: numbers overtake each other, and
 * what was proved is not known to be committed. */
static void waver(struct world *w, struct host *h, unsigned int track)
{
	unsigned int before = w->loss;

	w->loss = 300 + world_pick(w, 600);
	if (world_chance(w, 200))
		checks_differ(w, host_peer(w, h));
	for (unsigned int i = 2 + world_pick(w, world_chance(w, 100) ? 60 : 14);
	     i > 0 && !w->failed; i--) {
		if (world_chance(w, 100))
			addr_del(w, h, (int)world_pick(w, ADDRS));
		else if (world_chance(w, 400))
			addr_add(w, h, (int)world_pick(w, ADDRS));
		by_operator(w, h, track);
		world_run(w, w->now + world_pick(w, 5 * w->delay_ms + 20));
	}
	world_run(w, w->now + world_pick(w, 12000));
	if (world_chance(w, 200)) { /* and then it breaks: leases run out */
		w->loss = 1000;
		w->traffic_ms = 400;
		world_run(w, w->now + world_pick(w, 120000));
		w->traffic_ms = 20;
	}
	w->loss = before;
}

static void crash(struct world *w, struct host *h, bool amnesia)
{
	struct dgram d = { .kind = D_RESTART, .from_host = h->id };

	if (!h->up)
		return;
	tell(w, "host %d: daemon dies%s", h->id,
	      amnesia ? " and forgets" : "");
	if (amnesia) {
		d.forged = true;
		world_post(w, w->now, &d);
	}
	host_crash(w, h, 1 + world_pick(w, world_chance(w, 800) ? 3000 :
								  60000));
}

static void happen(struct world *w)
{
	static const unsigned int most_ms[] = { 200, 3000, 20000, 200000 };
	struct host *h = &w->host[world_pick(w, HOSTS)];
	unsigned int track = world_pick(w, TRACKS);
	unsigned int what = world_pick(w, 1000);
	int i = (int)world_pick(w, ADDRS);

	if (deafen(w, h, track)) {
		return;
	} else if (what < 25) {
		unfit(w, true);
	} else if (what < 35) {
		unfit(w, false);
	} else if (what < 170) {
		addr_add(w, h, i);
		if (world_chance(w, 500)) { /* add, then delete */
			prefer(w, h, track);
			addr_del(w, h, used(h, track));
		}
	} else if (what < 190) {
		too_late(w, h, track);
	} else if (what < 320) { /* break before make */
		addr_del(w, h, used(h, track));
	} else if (what < 370) {
		addr_del(w, h, i);
	} else if (what < 390) { /* both at once */
		addr_del(w, &w->host[0], used(&w->host[0], track));
		addr_del(w, &w->host[1], used(&w->host[1], track));
	} else if (what < 415) { /* all of them */
		del_all(w, h);
	} else if (what < 450) { /* flap */
		i = used(h, track);
		addr_del(w, h, i);
		world_run(w, w->now + world_pick(w, 400));
		addr_add(w, h, i);
	} else if (what < 540) {
		prefer(w, h, track);
		changed(w, h);
	} else if (what < 555) {
		h->unroutable[track] = !h->unroutable[track];
		changed(w, h);
	} else if (what < 580) {
		h->deprecated[used(h, track)] = true;
		changed(w, h);
	} else if (what < 620) {
		waver(w, h, track);
	} else if (what < 670) {
		by_operator(w, h, track);
	} else if (what < 740) {
		block(w, true);
	} else if (what < 800) {
		block(w, false);
	} else if (what < 830) {
		w->loss = world_chance(w, 500) ? world_pick(w, 700) : 0;
	} else if (what < 870) {
		checks_differ(w, h);
	} else if (what < 895) {
		pause_host(w, h, world_chance(w, 500),
			   most_ms[world_pick(w, 4)]);
	} else if (what < 915) {
		crash(w, h, world_chance(w, 150));
	} else if (what < 935) {
		h->kernel_fails = h->kernel_fails ? 0 : 2 + world_pick(w, 12);
	} else if (what < 970) {
		if (world_chance(w, 500))
			world_choke(w);
		world_attack(w);
	} else if (what < 975) {
		lie(w, h);
	} else if (what < 990) {
		w->relayed = !w->relayed;
	} else {
		if (h->up && !h->stopped && !h->asleep)
			host_hello(w, h);
	}
}

/* Connections end, others begin, policy lets go: at any time. */
static void come_and_go(struct world *w)
{
	for (unsigned int f = 0; f < FLOWS; f++) {
		if (world_chance(w, 250))
			member_let_go(w, &w->host[world_pick(w, HOSTS)], f);
		else if (world_chance(w, 300))
			member_close(w, f);
		member_open(w, f);
	}
	world_run(w, w->now + world_pick(w, world_chance(w, 700) ? 400 :
								  4000));
}

static uint64_t pause_between(struct world *w)
{
	static const unsigned int most_ms[] = { 5, 50, 300, 300, 2500, 2500,
						20000, 80000 };

	return world_pick(w, most_ms[world_pick(w, 8)]);
}

/* ------------------------------------------------------------ schedule */

static void choose_network(struct world *w)
{
	static const unsigned int losses[] = { 0, 0, 0, 30, 150, 400 };
	static const unsigned int delays[] = { 1, 1, 5, 20, 80, 250 };

	begin_part(w, PART_FAULTS, 0);
	w->delay_ms = delays[world_pick(w, 6)];
	w->loss = losses[world_pick(w, 6)];
	w->copies = world_chance(w, 300) ? 100 : 0;
	w->reorder = world_chance(w, 300) ? 200 : 0;
	w->late = world_chance(w, 300) ? 20 : 0;
	if (!has(w, PART_FAULTS, FAULT_LOSS))
		w->loss = 0;
	if (!has(w, PART_FAULTS, FAULT_COPIES))
		w->copies = 0;
	if (!has(w, PART_FAULTS, FAULT_REORDER))
		w->reorder = 0;
	if (!has(w, PART_FAULTS, FAULT_LATE))
		w->late = 0;
}

void world_start(struct world *w, const struct script *script,
		 enum loudness loudness)
{
	uint8_t first[HOSTS][TRACKS];

	memset(w, 0, offsetof(struct world, post));
	w->script = *script;
	w->random_state = script->seed;
	w->loudness = loudness;
	w->now = 1000000 + world_pick(w, 1000000);
	for (unsigned int i = 0; i < DGRAMS; i++)
		w->free[w->n_free++] = (uint16_t)(DGRAMS - 1 - i);
	w->comings = world_chance(w, 500);
	w->has_liar = world_chance(w, 500) && has(w, PART_FAULTS, FAULT_LIAR);
	w->has_attacker = world_chance(w, 300) &&
			  has(w, PART_FAULTS, FAULT_ATTACKER);
	liar_start(w);
	for (int id = 0; id < HOSTS; id++)
		for (unsigned int t = 0; t < TRACKS; t++)
			first[id][t] = (uint8_t)world_pick(w, ADDRS);
	for (int id = 0; id < HOSTS; id++) {
		struct host *h = &w->host[id];

		host_init(w, id, first[id], first[1 - id]);
		for (unsigned int t = 0; t < TRACKS; t++) {
			for (uint8_t i = 0; i < ADDRS; i++)
				h->preference[t][i] =
					(uint8_t)((first[id][t] + i) % ADDRS);
		}
		memcpy(h->preference[LIAR_TRACK], h->preference[0],
		       sizeof(h->preference[0]));
		if (world_chance(w, 500))
			h->owned[world_pick(w, ADDRS)] = true;
	}
	choose_network(w);
	tell(w, "%u ms, of 1,000 %u lost, %u copied, %u out of order, %u late%s%s",
	     w->delay_ms, w->loss, w->copies, w->reorder, w->late,
	     w->has_liar ? "; a third host lies" : "",
	     w->has_attacker ? "; an attacker repeats" : "");
}

/* At least one address of one host is one that the other knows: without that,
 * two hosts that lost each other have no way to meet again (sacip(7),
 * HINT). Called again while there is no rest: a late message may yet tell
 * that the last one is gone. */
static void let_meet(struct world *w)
{
	/* Who has forgotten the other has to be told by its configuration;
	 * the other has no reason to speak first. */
	for (int id = 0; id < HOSTS; id++)
		if (w->amnesia && w->host[id].session == 0)
			w->host[id].configured = (1 - id) * ADDRS +
				random_own(w, &w->host[1 - id]);
	for (int a = 0; a < PAIR_ADDRS; a++)
		if (w->host[a / ADDRS].owned[a % ADDRS] &&
		    host_knows(&w->host[1 - a / ADDRS], OTHER_PAIR, a))
			return;
	for (int a = 0; a < PAIR_ADDRS; a++)
		if (host_knows(&w->host[1 - a / ADDRS], OTHER_PAIR, a)) {
			addr_add(w, &w->host[a / ADDRS], a % ADDRS);
			return;
		}
	/* Each was told that the other is gone for good. */
	w->host[1].configured = random_own(w, &w->host[0]);
}

/* The troubles end. Whoever is asleep wakes up by itself. */
static void heal(struct world *w)
{
	tell(w, "the trouble is over");
	w->healing = true;
	w->loss = 0;
	w->copies = 0;
	w->relayed = false;
	w->late = 0;
	w->choked = 0;
	memset(w->blocked, 0, sizeof(w->blocked));
	memset(w->unfit_ms, 0, sizeof(w->unfit_ms));
	memset(w->stranger, 0, sizeof(w->stranger));
	for (int id = 0; id < HOSTS; id++) {
		struct host *h = &w->host[id];

		memset(h->denied, 0, sizeof(h->denied));
		h->at_limit = false;
		h->kernel_fails = 0;
		memset(h->unroutable, 0, sizeof(h->unroutable));
		if (random_own(w, h) == NO_ADDR)
			h->owned[world_pick(w, ADDRS)] = true;
		changed(w, h);
	}
	let_meet(w);
	if (w->has_liar && world_chance(w, 200))
		liar_begin_flood(w);
}

static void run_pause(struct world *w, uint64_t pause)
{
	/* Much traffic around the events, little in the quiet. */
	w->traffic_ms = 20;
	if (pause > 2000) {
		world_run(w, w->now + 2000);
		pause -= 2000;
		w->traffic_ms = 400;
	}
	world_run(w, w->now + pause);
}

/* After the trouble. */
static void come_to_rest(struct world *w)
{
	uint64_t begun, until;
	const char *why;

	w->traffic_ms = 60;
	world_run(w, w->now + 5000);
	w->traffic_ms = 500;
	for (int id = 0; id < HOSTS && !w->failed; id++)
		if (w->host[id].resume_ms > w->now)
			world_run(w, w->host[id].resume_ms);
	begun = w->now;
	for (until = begun + SETTLE_MS; w->now < until && !w->failed;) {
		if (world_is_settled(w, &why))
			break;
		world_run(w, w->now + 500);
		if ((until - w->now) % 10000 == 0 && !w->failed)
			let_meet(w);
	}
	w->stats.rest_ms = w->now - begun;
	if (!w->failed && !world_is_settled(w, &why))
		fail(w, "no rest within %d s of quiet: %s", SETTLE_MS / 1000,
		     why);
}

bool world_schedule(struct world *w)
{
	unsigned int n;
	struct dgram traffic = { .kind = D_TRAFFIC };
	struct dgram claim = { .kind = D_CLAIM_TIMER };
	struct dgram renew = { .kind = D_RENEW };
	struct dgram liar = { .kind = D_LIAR };
	struct dgram attacker = { .kind = D_ATTACK };

	begin_part(w, SCRIPT_PARTS, 0);
	n = 2 + world_pick(w, SCRIPT_EVENTS - 1);
	w->traffic_ms = 20;
	world_post(w, w->now, &traffic);
	for (int id = 0; id < HOSTS; id++) {
		claim.from_host = id;
		world_post(w, w->now + world_pick(w, 200), &claim);
		renew.from_host = id;
		world_post(w, w->now + world_pick(w, 20000), &renew);
	}
	if (w->has_liar)
		world_post(w, w->now + world_pick(w, 1000), &liar);
	if (w->has_attacker)
		world_post(w, w->now + world_pick(w, 1000), &attacker);
	if (w->has_liar && world_chance(w, 100))
		liar_begin_flood(w);
	for (unsigned int i = 0; i < n && !w->failed; i++) {
		begin_part(w, PART_COMINGS, i);
		if (w->comings && world_chance(w, 600) &&
		    has(w, PART_COMINGS, i))
			come_and_go(w);
		begin_part(w, PART_EVENTS, i);
		if (has(w, PART_EVENTS, i) && !w->failed)
			happen(w);
		begin_part(w, PART_PAUSES, i);
		if (has(w, PART_PAUSES, i) && !w->failed)
			run_pause(w, pause_between(w));
	}
	begin_part(w, SCRIPT_PARTS, 1);
	if (!w->failed)
		heal(w);
	come_to_rest(w);
	if (!w->failed)
		check_settled(w);
	return !w->failed;
}
