/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * own: random schedules of who owns a flow, with the real claims and proofs.
 *
 *	own [--schedules N] [--seed S] [--mutant NAME] [-v]
 *	own --list-mutants
 *
 * Two hosts and a liar with a valid key, flows between all of them, a network
 * that loses, repeats and reorders, and one on the path. Schedule i runs on
 * seed S + i. Checked: a flow is owned by nobody but the two hosts that have it,
 * whoever owns it keeps it, the path was looked at, who is not met hears nothing,
 * nonces reach no socket; and when the trouble is over, while the liar goes on,
 * both ends of a flow know that they own it, or that its path rewrites it.
 * Without --mutant: TAP, and the seed of the first that fails. With it: exit 0
 * where the fault was noticed.
 *
 * Owns options, the course of a schedule and the report.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "own.h"

#define BEGIN_MS 100000
#define REST_MS (2 * CLAIM_PROXY_MS + 100000)
#define LATE_MS (CLAIM_LATE_MS + 5000)
#define STEPS_MAX 200000

enum claim_mutant claim_mutant;

static const struct {
	const char *name, *what;
} mutants[MUTANTS] = {
#define X(name, what) [MUTANT_##name] = { #name, what },
	MUTANT_LIST(X)
#undef X
};

void own_fail(struct world *w, const char *format, ...)
{
	va_list args;

	if (*w->failure)
		return;
	va_start(args, format);
	vsnprintf(w->failure, sizeof(w->failure), format, args);
	va_end(args);
}

void own_tell(const struct world *w, const char *format, ...)
{
	va_list args;

	if (!w->verbose)
		return;
	printf("# %8llu ", (unsigned long long)w->now_ms - BEGIN_MS);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

/* ---- the world ----------------------------------------------------------- */

static struct addr address_of(unsigned int host)
{
	return (struct addr){ .family = 4,
			      .byte = { 10, 0, 0, (uint8_t)(host + 1) } };
}

static void end_init(struct flow *f, struct flow_end *e, unsigned int side)
{
	const unsigned int there = !side;

	e->flow = f;
	e->side = side;
	e->open = true;
	e->tuple.local.addr = address_of(f->host[side]);
	e->tuple.remote.addr = address_of(f->host[there]);
	e->tuple.local.port = (uint16_t)(side ? 7 : 1000 + f->number);
	e->tuple.remote.port = (uint16_t)(side ? 1000 + f->number : 7);
	e->tuple.proto = f->number % 2 ? IPPROTO_UDP : IPPROTO_TCP;
	claim_init(&e->claim, &e->tuple, 1);
}

static void flows_init(struct world *w)
{
	static const uint8_t ends[FLOWS][2] = {
		{ 0, 1 }, { 1, 0 }, { 1, 0 }, { 0, LIAR }, { LIAR, 1 },
	};

	for (unsigned int i = 0; i < FLOWS; i++) {
		struct flow *f = &w->flow[i];

		f->number = i;
		f->host[0] = ends[i][0];
		f->host[1] = ends[i][1];
		for (unsigned int side = 0; side < 2; side++) {
			end_init(f, &f->real[side], side);
			end_init(f, &f->posed[side], side);
			if (own_chance(w, 15))
				f->shift[side] = 1 + own_pick(w, 1u << 20);
		}
	}
}

static bool links_init(struct world *w)
{
	for (unsigned int h = 0; h < HOSTS; h++)
		random_fill(&w->random, w->key[h], CRYPTO_KEY_SIZE);
	for (unsigned int i = 0; i < HOSTS * HOSTS; i++) {
		const unsigned int h = i / HOSTS, p = i % HOSTS;
		struct link *l = &w->link[h][p];
		bool offers = memcmp(w->key[h], w->key[p],
				     CRYPTO_KEY_SIZE) < 0;

		if (h == p)
			continue;
		l->w = w;
		l->host = h;
		l->peer = p;
		memcpy(l->ends.offers, w->key[offers ? h : p], CRYPTO_KEY_SIZE);
		memcpy(l->ends.answers, w->key[offers ? p : h],
		       CRYPTO_KEY_SIZE);
		l->met[p] = own_chance(w, 70);
		if (p == LIAR && h != LIAR)
			l->met[!h] = w->posed_at[!h];
		l->down = h != LIAR && p != LIAR && w->passes;
		if (claim_table_new(&l->table, &own_ops, l, w->key[h],
				    w->key[p], &w->counters[h]) < 0)
			return false;
	}
	return true;
}

static bool world_start(struct world *w, uint64_t seed)
{
	struct stats stats = w->stats;
	bool verbose = w->verbose;

	memset(w, 0, sizeof(*w));
	w->stats = stats;
	w->verbose = verbose;
	w->seed = w->random = seed;
	w->now_ms = w->event_ms = w->lie_ms = BEGIN_MS;
	w->heal_ms = BEGIN_MS + 2000 + own_pick(w, 20000);
	w->power = (enum power)own_pick(w, POWERS);
	w->all_ms = UINT64_MAX;
	if (w->power == POWER_ALL) {
		w->power = POWER_NONE;
		w->all_ms = BEGIN_MS + own_pick(w, 10000);
	}
	w->spread_ms = own_pick(w, 50);
	w->loss = own_chance(w, 60) ? own_pick(w, 40) : 0;
	w->dup = own_chance(w, 60) ? own_pick(w, 30) : 0;
	w->passes = own_chance(w, 30);
	w->near = w->power == POWER_SEES && own_chance(w, 50);
	w->attacker = w->power != POWER_SEES && own_chance(w, 50);
	for (unsigned int h = 0; h < LIAR; h++)
		w->posed_at[h] = own_chance(w, 70);
	flows_init(w);
	return links_init(w);
}

static void world_end(struct world *w)
{
	for (unsigned int i = 0; i < HOSTS * HOSTS; i++)
		claim_table_free(w->link[i / HOSTS][i % HOSTS].table);
	for (unsigned int i = 0; i < 2 * FLOWS; i++)
		if (w->flow[i / 2].real[i % 2].watched ||
		    w->flow[i / 2].posed[i % 2].watched)
			own_fail(w, "flow %u is watched for ever", i / 2);
}

/* ---- what happens -------------------------------------------------------- */

static bool is_liars(const struct flow *f)
{
	return f->host[0] == LIAR || f->host[1] == LIAR;
}

static const struct link *owner_link(const struct world *w,
				     const struct flow *f, unsigned int side)
{
	return &w->link[f->host[side]][f->host[!side]];
}

static bool is_owned(const struct world *w, const struct flow *f,
		     unsigned int side)
{
	const struct claim *c = &f->real[side].claim;

	return c->confirmed && c->table == owner_link(w, f, side)->table;
}

static bool is_agreed(const struct world *w, const struct flow *f)
{
	return is_owned(w, f, 0) && is_owned(w, f, 1) &&
	       f->real[0].claim.flow_id == f->real[1].claim.flow_id;
}

/* Of a host of the two: with whom it tries to be owner. */
static void choose(struct world *w, bool healed)
{
	struct flow *f = &w->flow[own_pick(w, FLOWS)];
	const unsigned int side = own_pick(w, 2), host = f->host[side];
	struct claim *c = &f->real[side].claim;
	unsigned int peer = f->host[!side];

	if (host == LIAR || !f->real[side].open || c->confirmed)
		return;
	if (!healed && w->posed_at[peer] && own_chance(w, 50))
		peer = LIAR;
	claim_start(w->link[host][peer].table, w->now_ms, c);
}

static void meet(struct world *w)
{
	struct link *l = &w->link[own_pick(w, LIAR)][own_pick(w, HOSTS)];

	if (!l->table)
		return;
	l->met[l->peer] = own_chance(w, 80);
	if (l->met[l->peer])
		claim_table_kick(l->table, w->now_ms);
}

static void close_end(struct world *w, struct flow *f, unsigned int side)
{
	struct flow_end *e = &f->real[side];

	if (!e->open)
		return;
	own_tell(w, "host %u: flow %u is closed", f->host[side], f->number);
	e->open = false;
	claim_end(&e->claim, w->now_ms);
}

/* From those that were on the path: once more, or somewhere else. */
static void attack(struct world *w)
{
	const unsigned int n = w->n_seen < HEARD ? w->n_seen : HEARD;
	struct parcel p;

	if (!w->attacker || n == 0)
		return;
	p = w->seen[own_pick(w, n)];
	p.honest = false;
	p.at_ms = w->now_ms;
	if (own_chance(w, 30))
		p.to = !p.to;
	if (own_chance(w, 30))
		p.flow = &w->flow[own_pick(w, 3)];
	own_post(w, &p);
}

static void happen(struct world *w)
{
	const unsigned int what = own_pick(w, 100);

	if (what < 50)
		choose(w, false);
	else if (what < 65)
		meet(w);
	else if (what < 85)
		attack(w);
	else if (what < 90)
		claim_table_announce(w->link[0][1].table, w->now_ms);
	else if (what < 92)
		close_end(w, &w->flow[own_pick(w, FLOWS)], own_pick(w, 2));
}

static void heal(struct world *w)
{
	own_tell(w, "the trouble is over");
	w->loss = w->dup = 0;
	w->attacker = false;
	for (unsigned int h = 0; h < LIAR; h++)
		for (unsigned int p = 0; p < HOSTS; p++) {
			if (h == p)
				continue;
			w->link[h][p].down = false;
			w->link[h][p].met[p] = true;
			claim_table_kick(w->link[h][p].table, w->now_ms);
		}
	for (unsigned int i = 0; i < 2 * FLOWS; i++)
		if (!w->flow[i / 2].real[i % 2].open)
			close_end(w, &w->flow[i / 2], !(i % 2));
}

/* Now he can be either end of everything: what both own stays theirs. */
static void gain_all(struct world *w)
{
	own_tell(w, "the liar can do all");
	w->all_ms = UINT64_MAX;
	w->power = POWER_ALL;
	for (unsigned int i = 0; i < FLOWS; i++) {
		struct flow *f = &w->flow[i];

		if (is_liars(f))
			continue;
		f->kept = is_agreed(w, f) && f->real[0].open && f->real[1].open;
		f->lost = !f->kept;
		w->stats.kept += f->kept;
	}
}

/* ---- the end ------------------------------------------------------------- */

/* NULL where both ends know the same of it. */
static const char *wrong(const struct world *w, const struct flow *f)
{
	const bool rewritten = f->real[0].tuple.proto == IPPROTO_TCP &&
			       (f->shift[0] || f->shift[1]);

	if (f->lost || is_liars(f))
		return NULL;
	if (!f->real[0].open || !f->real[1].open)
		return f->real[0].claim.confirmed ||
				       f->real[1].claim.confirmed ?
			       "is closed, but owned" : NULL;
	if (rewritten)
		return is_owned(w, f, 0) || is_owned(w, f, 1) ?
			       "is owned, but rewritten" : NULL;
	return is_agreed(w, f) ? NULL : "is not owned by both";
}

static const struct flow *unsettled(const struct world *w)
{
	for (unsigned int i = 0; i < FLOWS; i++)
		if (wrong(w, &w->flow[i]))
			return &w->flow[i];
	return NULL;
}

/* What was owned when the liar could do all stays so. */
static void check_kept(struct world *w)
{
	for (unsigned int i = 0; i < FLOWS; i++) {
		struct flow *f = &w->flow[i];

		if (!f->kept)
			continue;
		f->kept = f->real[0].open && f->real[1].open;
		f->lost = !f->kept;
		if (f->kept && !(is_owned(w, f, 0) && is_owned(w, f, 1)))
			own_fail(w, "flow %u was owned and is not any more", i);
	}
}

/* ---- time ---------------------------------------------------------------- */

static void earlier(uint64_t *ms, uint64_t other)
{
	if (other < *ms)
		*ms = other;
}

static uint64_t next_ms(const struct world *w)
{
	uint64_t ms = w->event_ms;

	earlier(&ms, w->lie_ms);
	earlier(&ms, w->all_ms);
	for (unsigned int i = 0; i < w->n_letters; i++)
		earlier(&ms, w->letter[i].at_ms);
	for (unsigned int i = 0; i < w->n_parcels; i++)
		earlier(&ms, w->parcel[i].at_ms);
	for (unsigned int i = 0; i < HOSTS * HOSTS; i++) {
		const struct claim_table *t =
			w->link[i / HOSTS][i % HOSTS].table;

		if (t)
			earlier(&ms, claim_table_deadline_ms(t));
	}
	return ms > w->now_ms ? ms : w->now_ms + 1;
}

static void deliver_due(struct world *w)
{
	for (unsigned int i = 0; i < w->n_letters;) {
		const struct letter l = w->letter[i];

		if (l.at_ms > w->now_ms) {
			i++;
			continue;
		}
		w->letter[i] = w->letter[--w->n_letters];
		own_deliver(w, &l);
	}
	for (unsigned int i = 0; i < w->n_parcels;) {
		const struct parcel p = w->parcel[i];

		if (p.at_ms > w->now_ms) {
			i++;
			continue;
		}
		w->parcel[i] = w->parcel[--w->n_parcels];
		own_arrive(w, &p);
	}
}

static void step(struct world *w, bool healed)
{
	w->now_ms = next_ms(w);
	if (w->now_ms >= w->all_ms)
		gain_all(w);
	deliver_due(w);
	for (unsigned int i = 0; i < HOSTS * HOSTS; i++) {
		struct claim_table *t = w->link[i / HOSTS][i % HOSTS].table;

		if (t && w->now_ms >= claim_table_deadline_ms(t))
			claim_table_step(t, w->now_ms);
	}
	if (w->now_ms >= w->event_ms && healed)
		choose(w, true);
	else if (w->now_ms >= w->event_ms)
		happen(w);
	if (w->now_ms >= w->event_ms)
		w->event_ms = w->now_ms + 1 + own_pick(w, healed ? 1000 : 200);
	if (w->now_ms >= w->lie_ms) {
		liar_act(w);
		w->lie_ms = w->now_ms + 1 + own_pick(w, healed ? 4000 : 100);
	}
	check_kept(w);
}

static void run(struct world *w)
{
	const struct flow *f = &w->flow[0];
	unsigned int steps = 0;

	while (!*w->failure && w->now_ms < w->heal_ms)
		step(w, false);
	if (*w->failure)
		return;
	heal(w);
	while (!*w->failure && f && w->now_ms < w->heal_ms + REST_MS) {
		if (++steps > STEPS_MAX)
			own_fail(w, "it never comes to rest");
		step(w, true);
		f = w->now_ms < w->heal_ms + LATE_MS ? f : unsettled(w);
	}
	if (f)
		own_fail(w, "flow %u %s", f->number, wrong(w, f));
}

static bool schedule(struct world *w, uint64_t seed)
{
	if (!world_start(w, seed))
		own_fail(w, "no memory");
	else
		run(w);
	world_end(w);
	return !*w->failure;
}

/* ---- main ---------------------------------------------------------------- */

struct options {
	uint64_t schedules, seed;
	bool verbose;
};

static int select_mutant(const char *name)
{
	for (unsigned int i = 1; i < MUTANTS; i++)
		if (!strcmp(mutants[i].name, name)) {
			claim_mutant = (enum claim_mutant)i;
			return 0;
		}
	return -ENOENT;
}

static void list_mutants(void)
{
	for (unsigned int i = 1; i < MUTANTS; i++)
		printf("%-20s %s\n", mutants[i].name, mutants[i].what);
}

/* 0; 1: that was all; -EINVAL. */
static int parse_options(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "--list-mutants")) {
			list_mutants();
			return 1;
		}
		if (!strcmp(argv[i], "-v")) {
			o->verbose = true;
			continue;
		}
		if (!strcmp(argv[i], "--schedules"))
			o->schedules = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--seed"))
			o->seed = strtoull(value, NULL, 0);
		else if (strcmp(argv[i], "--mutant") || select_mutant(value))
			return -EINVAL;
		i++;
	}
	return 0;
}

static int report(const struct world *w, const struct options *o, uint64_t ran)
{
	const struct stats *s = &w->stats;
	const bool failed = ran < o->schedules;

	if (claim_mutant) {
		printf("%s: %s seed %llu: %s\n", mutants[claim_mutant].name,
		       failed ? "noticed," : "NOT noticed up to",
		       (unsigned long long)(o->seed + ran), w->failure);
		return !failed;
	}
	printf("1..1\n%sok 1 - who owns a flow, in %llu schedules from seed %llu\n",
	       failed ? "not " : "", (unsigned long long)ran,
	       (unsigned long long)o->seed);
	if (failed)
		printf("# %s\n# again: own --schedules 1 --seed %llu -v\n",
		       w->failure, (unsigned long long)(o->seed + ran));
	printf("# %llu nonces, %llu lies, %llu times owned (%llu by the liar, who was its end or could do all), %llu times refused as rewritten, %llu kept from who could do all\n",
	       (unsigned long long)s->nonces, (unsigned long long)s->lies,
	       (unsigned long long)s->confirmed, (unsigned long long)s->liars,
	       (unsigned long long)s->rewritten, (unsigned long long)s->kept);
	return failed;
}

int main(int argc, char **argv)
{
	struct options o = { .schedules = 1000, .seed = 1 };
	struct world *w;
	uint64_t ran = 0;
	int ret = parse_options(argc, argv, &o);

	if (ret > 0)
		return 0;
	if (ret < 0) {
		fprintf(stderr,
			"usage: own [--schedules N] [--seed S] [--mutant NAME] [-v] | --list-mutants\n");
		return 2;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return 1;
	w->verbose = o.verbose;
	while (ran < o.schedules && schedule(w, o.seed + ran))
		ran++;
	ret = report(w, &o, ran);
	free(w);
	return ret;
}
