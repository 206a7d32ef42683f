package resource

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// Addresses is the kind of a name whose addresses change while it is asked for.
// They do not run out: lists of addresses on the way and at the far side grow old.
const Addresses = "addresses"

// addresses are those that a name outside the cluster had during a series, if no
// single lookup named them all: a name that always answers with the same set is
// tried at one or another of it, and does not change.
func addresses(c *model.Case) []Use {
	if turns := turnsOf(c); len(turns) > 1 {
		return []Use{taking(c, turns)}
	}
	return nil
}

// taking tells of addresses that a name had by turns.
func taking(c *model.Case, turns []turn) Use {
	host := c.Question.To.Host
	u := Use{
		Kind: Addresses, Name: "addresses", Of: model.NewRef("host", host), Unit: "addresses", Used: float64(len(turns)), State: Room, Source: "probe",
		Remedy: []diagnose.Command{{Text: "Allow " + host + " by its name where the list can (an application rule of Azure Firewall, a Cilium policy with toFQDNs, a service tag), or give it an address that stays (a private endpoint): the next address is in no list"}},
	}
	words := make([]string, len(turns))
	for i, t := range turns {
		words[i] = t.addr.String()
		if t.failed.Count > 0 {
			words[i] += fmt.Sprintf(" (%d of %d tries fail)", t.failed.Count, t.failed.Of)
		}
	}
	span := turns[len(turns)-1].first.Sub(turns[0].first).Round(time.Second)
	u.Says = append(u.Says,
		fmt.Sprintf("the addresses that %s is answered with change: %d different ones, the last of them first seen after %s: %s", host, len(turns), span, strings.Join(words, ", ")),
		"a list of single addresses (a policy's ipBlock, a security rule, a network rule, the far side's own) holds until the next one")
	return u
}

// turn is an address that the name had.
type turn struct {
	addr   netip.Addr
	first  time.Time
	failed watch.Rate
}

// turnsOf are the addresses that tries of any place went to, in the order in which
// they appeared; nil where one lookup's answers name them all, or no series told of a name.
func turnsOf(c *model.Case) []turn {
	if c.Question.To.Host == "" || c.More {
		return nil
	}
	var out []turn
	for i := range c.Tries {
		t := &c.Tries[i]
		if !watch.Counts(t) || !t.Address.IsValid() || t.Vantage == model.VantageHere {
			continue
		}
		k := slices.IndexFunc(out, func(o turn) bool { return o.addr == t.Address.Addr() })
		if k < 0 {
			out = append(out, turn{addr: t.Address.Addr(), first: t.At})
			k = len(out) - 1
		}
		if t.At.Before(out[k].first) {
			out[k].first = t.At
		}
		if out[k].failed.Of++; watch.Failed(t) {
			out[k].failed.Count++
		}
	}
	slices.SortFunc(out, func(a, b turn) int { return cmp.Or(a.first.Compare(b.first), a.addr.Compare(b.addr)) })
	if slices.ContainsFunc(c.Observations, func(o model.Observation) bool { return names(o.Queries, out) }) {
		return nil
	}
	return out
}

// names says that one lookup's answers name all of the addresses.
func names(queries []model.DNSQuery, all []turn) bool {
	return !slices.ContainsFunc(all, func(t turn) bool {
		return !slices.ContainsFunc(queries, func(q model.DNSQuery) bool { return slices.Contains(q.Answers, t.addr.String()) })
	})
}

// Changing is the use of the addresses of the question's name, if they change,
// addr is one of them, and another one was reached; nil else.
func Changing(c *model.Case, addr netip.Addr) *Use {
	all := turnsOf(c)
	if slices.ContainsFunc(all, func(t turn) bool { return t.addr == addr }) && slices.ContainsFunc(all, func(t turn) bool { return t.addr != addr && t.failed.Count < t.failed.Of }) {
		u := taking(c, all)
		return &u
	}
	return nil
}
