/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conf_policy: the questions that policy asks of a configuration.
 *
 * Owns the meaning of allow, deny, initiate, peers, revoked_keys and the
 * locator lists. Pure: the answer depends on the arguments alone.
 */
#include "conf.h"

#include <string.h>

static bool prefixes_contain(const struct conf_prefixes *list,
			     const struct addr *a)
{
	for (unsigned int i = 0; i < list->n; i++)
		if (prefix_contains(&list->item[i], a))
			return true;
	return false;
}

static bool rule_matches(const struct conf_rule *r, const struct tuple *flow)
{
	uint16_t local = flow->local.port, remote = flow->remote.port;

	if (r->proto && r->proto != flow->proto)
		return false;
	if (!prefix_contains(&r->prefix, &flow->remote.addr))
		return false;
	return (local >= r->port_low && local <= r->port_high) ||
	       (remote >= r->port_low && remote <= r->port_high);
}

static bool rules_match(const struct conf_rules *list, const struct tuple *flow)
{
	for (unsigned int i = 0; i < list->n; i++)
		if (rule_matches(&list->item[i], flow))
			return true;
	return false;
}

bool conf_flow_allowed(const struct conf *conf, const struct tuple *flow)
{
	if (rules_match(&conf->deny, flow))
		return false;
	return conf->allow.n == 0 || rules_match(&conf->allow, flow);
}

bool conf_initiate_allowed(const struct conf *conf, const struct addr *remote)
{
	return prefixes_contain(&conf->initiate, remote) ||
	       conf_find_peer_by_addr(conf, remote);
}

const struct conf_peer *conf_find_peer_by_addr(const struct conf *conf,
					       const struct addr *a)
{
	const struct conf_peers *peers = &conf->peers;
	unsigned int low = 0, high = peers->n_places;

	/* It is asked for each socket. */
	while (low < high) {
		const unsigned int middle = low + (high - low) / 2;

		if (addr_compare(&peers->place[middle].addr, a) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < peers->n_places &&
			       addr_equal(&peers->place[low].addr, a) ?
		       &peers->item[peers->place[low].peer] :
		       NULL;
}

const struct conf_peer *
conf_find_peer_by_key(const struct conf *conf,
		      const uint8_t public_key[CONF_KEY_SIZE])
{
	for (unsigned int i = 0; i < conf->peers.n; i++)
		if (memcmp(conf->peers.item[i].public_key, public_key,
			   CONF_KEY_SIZE) == 0)
			return &conf->peers.item[i];
	return NULL;
}

const struct conf_peer *conf_find_peer_by_name(const struct conf *conf,
					       const char *name)
{
	for (unsigned int i = 0; i < conf->peers.n; i++)
		if (strcmp(conf->peers.item[i].name, name) == 0)
			return &conf->peers.item[i];
	return NULL;
}

bool conf_key_revoked(const struct conf *conf,
		      const uint8_t public_key[CONF_KEY_SIZE])
{
	for (unsigned int i = 0; i < conf->revoked_keys.n; i++)
		if (memcmp(conf->revoked_keys.item[i], public_key,
			   CONF_KEY_SIZE) == 0)
			return true;
	return false;
}

enum reason conf_locator_check(const struct conf *conf,
			       const struct addr *locator,
			       const struct addr *current)
{
	enum addr_class class = addr_classify(locator);

	switch (class) {
	case ADDR_GLOBAL:
	case ADDR_PRIVATE:
		break;
	case ADDR_LOOPBACK:
		return REASON_LOOPBACK;
	case ADDR_MULTICAST:
	case ADDR_BROADCAST:
		return REASON_MULTICAST;
	case ADDR_LINK_LOCAL:
		/* Off its link it means another host; flows on link-local
		 * addresses are not cared for at all. */
		return REASON_LINK_LOCAL;
	default:
		return REASON_POLICY;
	}
	if (current && current->family != locator->family)
		return REASON_FAMILY;
	if (class == ADDR_PRIVATE && current && !conf->allow_private &&
	    addr_classify(current) == ADDR_GLOBAL)
		return REASON_POLICY;
	if (prefixes_contain(&conf->locator_deny, locator))
		return REASON_POLICY;
	if (conf->locator_allow.n &&
	    !prefixes_contain(&conf->locator_allow, locator))
		return REASON_POLICY;
	return REASON_NONE;
}
