package netfilter

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ruleParser reads one rule of iptables-save.
type ruleParser struct {
	rule   *Rule
	words  []string
	v6     bool
	not    bool
	module string   // the last -m, whose options follow
	fills  []string // IP sets that the rule changes
}

func (p *ruleParser) next() string {
	if len(p.words) == 0 {
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *ruleParser) run() {
	for len(p.words) > 0 {
		option := p.next()
		if option == "!" {
			p.not = true
			continue
		}
		switch option {
		case "-j", "--jump":
			p.target(p.next())
			return // what follows belongs to the target
		case "-g", "--goto":
			p.add(Expr{Kind: ExprVerdict, Jump: Jump{Do: "goto", Chain: p.next()}})
			return
		case "-m", "--match":
			p.module = p.next()
			if wholeModule[p.module] {
				p.unknown()
			}
		default:
			p.option(option)
		}
		p.not = false
	}
}

// wholeModule are matches that may decide without an option.
var wholeModule = map[string]bool{"rpfilter": true, "socket": true, "unclean": true, "bpf": true}

func (p *ruleParser) add(e Expr) { p.rule.Exprs = append(p.rule.Exprs, e) }

func (p *ruleParser) unknown() { p.add(Expr{Kind: ExprUnknownMatch}) }

func keyed(key string) Operand { return Operand{Op: "key", Key: key} }

// match adds a condition: the key lies in one of the ranges.
func (p *ruleParser) match(key string, ranges ...Range) { p.matchOn(keyed(key), ranges...) }

func (p *ruleParser) matchOn(left Operand, ranges ...Range) {
	s := &Set{}
	for _, r := range ranges {
		s.Elems = append(s.Elems, Elem{Key: []Range{r}})
	}
	p.add(Expr{Kind: ExprMatch, Left: []Operand{left}, Set: s.seal(), Not: p.not})
}

func (p *ruleParser) family() string {
	if p.v6 {
		return "ip6"
	}
	return "ip"
}

func (p *ruleParser) option(option string) {
	if f, ok := options[option]; ok && f(p) {
		return
	}
	if ignored[option] > 0 {
		for range ignored[option] - 1 {
			p.next()
		}
		return
	}
	// Not known: its arguments are all up to the next option.
	for len(p.words) > 0 && p.words[0] != "!" && !strings.HasPrefix(p.words[0], "-") {
		p.next()
	}
	p.unknown()
}

// ignored are options that decide nothing, with how many words they are.
var ignored = map[string]int{
	"--comment": 2, "--name": 2, "--seconds": 2, "--hitcount": 2, "--rsource": 1, "--rdest": 1, "--reap": 1, "--rttl": 1, "--mask": 2, "-c": 3,
	"--update-counters": 1, "--update-subcounters": 1,
}

// options are the conditions that are understood. One that returns false is not, this time.
var options = map[string]func(*ruleParser) bool{
	"-s":                   func(p *ruleParser) bool { return p.prefixes("saddr") },
	"--source":             func(p *ruleParser) bool { return p.prefixes("saddr") },
	"-d":                   func(p *ruleParser) bool { return p.prefixes("daddr") },
	"--destination":        func(p *ruleParser) bool { return p.prefixes("daddr") },
	"-p":                   (*ruleParser).protocol,
	"--protocol":           (*ruleParser).protocol,
	"-i":                   func(p *ruleParser) bool { return p.device("meta iifname") },
	"-o":                   func(p *ruleParser) bool { return p.device("meta oifname") },
	"-f":                   func(p *ruleParser) bool { p.match("fragment"); return true }, // first packets are whole
	"--sport":              func(p *ruleParser) bool { return p.ports("sport") },
	"--source-port":        func(p *ruleParser) bool { return p.ports("sport") },
	"--sports":             func(p *ruleParser) bool { return p.ports("sport") },
	"--dport":              func(p *ruleParser) bool { return p.ports("dport") },
	"--destination-port":   func(p *ruleParser) bool { return p.ports("dport") },
	"--dports":             func(p *ruleParser) bool { return p.ports("dport") },
	"--syn":                func(p *ruleParser) bool { return p.tcpFlags("FIN,SYN,RST,ACK", "SYN") },
	"--tcp-flags":          func(p *ruleParser) bool { return p.tcpFlags(p.next(), p.next()) },
	"--ctstate":            func(p *ruleParser) bool { return p.words2names("ct state") },
	"--state":              func(p *ruleParser) bool { return p.words2names("ct state") },
	"--ctdir":              func(p *ruleParser) bool { return p.words2names("ct direction") },
	"--src-type":           func(p *ruleParser) bool { return p.addrType("fib type saddr") },
	"--dst-type":           func(p *ruleParser) bool { return p.addrType("fib type daddr") },
	"--mark":               (*ruleParser).mark,
	"--probability":        (*ruleParser).probability,
	"--mode":               func(p *ruleParser) bool { p.next(); return true },
	"--every":              (*ruleParser).every,
	"--packet":             func(p *ruleParser) bool { p.next(); return true },
	"--set":                func(p *ruleParser) bool { return p.module == "recent" }, // it adds, and matches
	"--src-range":          func(p *ruleParser) bool { return p.addrRange("saddr") },
	"--dst-range":          func(p *ruleParser) bool { return p.addrRange("daddr") },
	"--ctorigdst":          func(p *ruleParser) bool { return p.origin("ct original daddr") },
	"--ctorigsrc":          func(p *ruleParser) bool { return p.origin("ct original saddr") },
	"--ctorigdstport":      func(p *ruleParser) bool { return p.originPort() },
	"--ctproto":            (*ruleParser).protocol,
	"--physdev-is-bridged": func(p *ruleParser) bool { p.match("meta bridged", one("yes")); return true },
	"--icmp-type":          func(p *ruleParser) bool { return p.skipWord("icmp") },
	"--icmpv6-type":        func(p *ruleParser) bool { return p.skipWord("icmpv6") },
	"--physdev-in":         func(p *ruleParser) bool { return p.skipUnlessBridged() },
	"--physdev-is-in":      func(p *ruleParser) bool { return false },
	"--physdev-out":        func(p *ruleParser) bool { return p.skipUnlessBridged() },
	"--limit-iface-in":     func(p *ruleParser) bool { return false },
	"--limit-iface-out":    func(p *ruleParser) bool { return false },
	"--ctstatus":           func(p *ruleParser) bool { return p.words2names("ct status") },
	"--physdev-is-out":     func(p *ruleParser) bool { return false },
	"--match-set":          (*ruleParser).matchSet,
	"--return-nomatch":     (*ruleParser).returnNomatch,
}

func (p *ruleParser) matchSet() bool {
	name := p.next()
	p.add(Expr{Kind: ExprIPSet, SetRef: name, At: strings.Split(p.next(), ","), Not: p.not})
	return true
}

// returnNomatch turns a match on a set round: elements with nomatch match, others do not.
func (p *ruleParser) returnNomatch() bool {
	p.rule.Exprs = p.rule.Exprs[:max(0, len(p.rule.Exprs)-1)]
	p.add(Expr{Kind: ExprUnknownMatch})
	return true
}

func (p *ruleParser) skipWord(key string) bool {
	p.next()
	p.matchOn(keyed(key))
	return true
}

// skipUnlessBridged is a condition on a bridge's port: a packet that is routed has none.
func (p *ruleParser) skipUnlessBridged() bool {
	not := p.not
	p.not = false
	p.next()
	if !not {
		p.match("meta bridged", one("yes"))
	}
	p.unknown()
	return true
}

func (p *ruleParser) prefixes(field string) bool {
	var ranges []Range
	for word := range strings.SplitSeq(p.next(), ",") {
		prefix, err := parsePrefix(word)
		if err != nil {
			p.unknown()
			return true
		}
		ranges = append(ranges, prefixRange(prefix))
	}
	p.match(p.family()+" "+field, ranges...)
	return true
}

// parsePrefix reads 10.0.0.1, 10.0.0.0/8 and 10.0.0.0/255.0.0.0.
func parsePrefix(s string) (netip.Prefix, error) {
	host, mask, ok := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, err
	}
	if !ok {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	if m, err := netip.ParseAddr(mask); err == nil && m.Is4() {
		return netip.ParsePrefix(host + "/" + strconv.Itoa(leadingOnes(m)))
	}
	return netip.ParsePrefix(s)
}

// leadingOnes is a mask's length; -1 where the mask has holes.
func leadingOnes(mask netip.Addr) int {
	n, ended := 0, false
	for _, b := range mask.AsSlice() {
		for bit := 7; bit >= 0; bit-- {
			set := b>>bit&1 == 1
			if set && ended {
				return -1
			}
			if set {
				n++
			} else {
				ended = true
			}
		}
	}
	return n
}

func (p *ruleParser) protocol() bool {
	name := p.next()
	if name == "all" || name == "0" {
		return true
	}
	number, ok := protocol(name)
	if !ok {
		p.unknown()
		return true
	}
	p.match("meta l4proto", one(number))
	return true
}

func (p *ruleParser) device(key string) bool {
	p.match(key, deviceRange(p.next(), "+"))
	return true
}

// ports reads 80, 80:90 and, for multiport, several of them.
func (p *ruleParser) ports(field string) bool {
	var ranges []Range
	for word := range strings.SplitSeq(p.next(), ",") {
		lo, hi, isRange := strings.Cut(word, ":")
		if !isRange {
			hi = lo
		}
		if lo == "" {
			lo = "0"
		}
		if hi == "" {
			hi = "65535"
		}
		a, err := strconv.ParseUint(lo, 10, 16)
		b, err2 := strconv.ParseUint(hi, 10, 16)
		if err != nil || err2 != nil {
			p.unknown()
			return true
		}
		ranges = append(ranges, numberRange(a, b))
	}
	p.match("th "+field, ranges...)
	return true
}

var tcpFlagBits = map[string]uint64{"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECN": 64, "CWR": 128, "ALL": 63, "NONE": 0}

func flagBits(words string) uint64 {
	var n uint64
	for w := range strings.SplitSeq(words, ",") {
		n |= tcpFlagBits[strings.ToUpper(w)]
	}
	return n
}

func (p *ruleParser) tcpFlags(mask, want string) bool {
	p.matchOn(masked("tcp flags", flagBits(mask)), one(number(flagBits(want))))
	return true
}

func constant(s string) Operand { return Operand{Op: "const", Range: one(s)} }

func masked(key string, mask uint64) Operand {
	return Operand{Op: "&", Args: []Operand{keyed(key), constant(number(mask))}}
}

// words2names reads a list of flags: NEW,ESTABLISHED.
func (p *ruleParser) words2names(key string) bool {
	var ranges []Range
	for w := range strings.SplitSeq(p.next(), ",") {
		ranges = append(ranges, one(strings.ReplaceAll(strings.ToLower(w), "_", "-")))
	}
	p.match(key, ranges...)
	return true
}

func (p *ruleParser) addrType(key string) bool {
	if slices.ContainsFunc(p.words, func(w string) bool { return strings.HasPrefix(w, "--limit-iface") }) {
		p.next()
		return false
	}
	return p.words2names(key)
}

// valueMask reads 0x4000/0x4000.
func valueMask(s string) (value, mask uint64, ok bool) {
	v, m, has := strings.Cut(s, "/")
	value, err := strconv.ParseUint(v, 0, 32)
	mask = 0xffffffff
	if has && err == nil {
		mask, err = strconv.ParseUint(m, 0, 32)
	}
	return value, mask, err == nil
}

func (p *ruleParser) mark() bool {
	value, mask, ok := valueMask(p.next())
	if !ok || p.module != "mark" && p.module != "connmark" {
		p.unknown()
		return true
	}
	key := "meta mark"
	if p.module == "connmark" {
		key = "ct mark"
	}
	p.matchOn(masked(key, mask), one(number(value)))
	return true
}

func (p *ruleParser) probability() bool {
	f, err := strconv.ParseFloat(p.next(), 64)
	if err != nil || f < 0 || f > 1 {
		p.unknown()
		return true
	}
	p.add(Expr{Kind: ExprChance, Chance: f, Not: p.not})
	return true
}

func (p *ruleParser) every() bool {
	n, err := strconv.ParseUint(p.next(), 10, 32)
	if err != nil || n == 0 || p.module != "statistic" {
		p.unknown()
		return true
	}
	p.add(Expr{Kind: ExprChance, Chance: 1 / float64(n), Not: p.not})
	return true
}

func (p *ruleParser) addrRange(field string) bool {
	lo, hi, ok := strings.Cut(p.next(), "-")
	a, err := netip.ParseAddr(lo)
	if !ok {
		hi = lo
	}
	b, err2 := netip.ParseAddr(hi)
	if err != nil || err2 != nil {
		p.unknown()
		return true
	}
	p.match(p.family()+" "+field, Range{addrBytes(a), addrBytes(b)})
	return true
}

func (p *ruleParser) origin(key string) bool {
	prefix, err := parsePrefix(p.next())
	if err != nil {
		p.unknown()
		return true
	}
	p.match(key, prefixRange(prefix))
	return true
}

func (p *ruleParser) originPort() bool {
	n, err := strconv.ParseUint(p.next(), 10, 16)
	if err != nil {
		p.unknown()
		return true
	}
	p.match("ct original proto-dst", one(number(n)))
	return true
}
