package netfilter

import (
	"net/netip"
	"strconv"
	"strings"
)

// goesOn are targets that end nothing and change nothing that is looked at.
var goesOn = map[string]bool{
	"LOG": true, "NFLOG": true, "ULOG": true, "TRACE": true, "CHECKSUM": true, "TCPMSS": true, "TCPOPTSTRIP": true, "CLASSIFY": true, "DSCP": true,
	"TOS": true, "TTL": true, "HL": true, "SECMARK": true, "CONNSECMARK": true, "AUDIT": true, "IDLETIMER": true, "LED": true, "RATEEST": true,
	"ECN": true, "TEE": true,
}

// target reads -j and what follows.
func (p *ruleParser) target(name string) {
	args := p.arguments()
	verdict := func(do, with string) { p.add(Expr{Kind: ExprVerdict, Jump: Jump{Do: do, With: with}}) }
	switch name {
	case "ACCEPT", "DROP", "RETURN":
		verdict(strings.ToLower(name), "")
	case "REJECT":
		with := args["--reject-with"]
		if with == "" {
			with = "icmp-port-unreachable"
		}
		verdict("reject", with)
	case "MARK":
		p.setMark(ExprMark, "meta mark", args)
	case "CONNMARK":
		p.connMark(args)
	case "NOTRACK":
		p.add(Expr{Kind: ExprNoTrack})
	case "CT":
		if _, ok := args["--notrack"]; ok {
			p.add(Expr{Kind: ExprNoTrack})
		}
	case "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP":
		p.nat(name, args)
	case "SET":
		p.fills = append(p.fills, args["--add-set"], args["--del-set"])
	case "NFQUEUE", "QUEUE", "TPROXY", "SYNPROXY", "STEAL", "HMARK":
		p.add(Expr{Kind: ExprUnknownEnd})
	default:
		if !goesOn[name] {
			p.add(Expr{Kind: ExprVerdict, Jump: Jump{Do: "jump", Chain: name}}) // resolved when all chains are known
		}
	}
}

// arguments are a target's options with their values.
func (p *ruleParser) arguments() map[string]string {
	out := map[string]string{}
	for len(p.words) > 0 {
		option, value := p.next(), ""
		if len(p.words) > 0 && !strings.HasPrefix(p.words[0], "--") {
			value = p.next()
		}
		out[option] = value
	}
	return out
}

// maskedMark is (mark & ^clear) op value: how every option of MARK can be written (xt_mark.c).
func maskedMark(key string, clear uint64, op string, value uint64) Operand {
	return Operand{Op: op, Args: []Operand{masked(key, ^clear&0xffffffff), constant(number(value))}}
}

func (p *ruleParser) setMark(kind ExprKind, key string, args map[string]string) {
	for _, option := range []string{"--set-xmark", "--set-mark", "--and-mark", "--or-mark", "--xor-mark"} {
		text, ok := args[option]
		if !ok {
			continue
		}
		value, mask, ok := valueMask(text)
		if !ok {
			break
		}
		e := Expr{Kind: kind}
		switch option {
		case "--set-xmark":
			e.Value = maskedMark(key, mask, "^", value)
		case "--set-mark":
			e.Value = maskedMark(key, mask, "|", value)
		case "--and-mark":
			e.Value = masked(key, value)
		case "--or-mark":
			e.Value = maskedMark(key, 0, "|", value)
		case "--xor-mark":
			e.Value = maskedMark(key, 0, "^", value)
		}
		p.add(e)
		return
	}
	p.add(Expr{Kind: kind, Value: Operand{Op: "unknown"}})
}

// connMark moves marks between packet and connection: the bits of one mask
// replace those of the other (xt_connmark.c).
func (p *ruleParser) connMark(args map[string]string) {
	masks := map[string]uint64{"--nfmask": 0xffffffff, "--ctmask": 0xffffffff}
	for option, text := range args {
		n, err := strconv.ParseUint(text, 0, 32)
		switch {
		case option == "--mask" && err == nil:
			masks["--nfmask"], masks["--ctmask"] = n, n
		case (option == "--nfmask" || option == "--ctmask") && err == nil:
			masks[option] = n
		}
	}
	move := func(kind ExprKind, to, from string, toMask, fromMask uint64) {
		p.add(Expr{Kind: kind, Value: Operand{Op: "^", Args: []Operand{masked(to, ^toMask&0xffffffff), masked(from, fromMask)}}})
	}
	if _, ok := args["--restore-mark"]; ok {
		move(ExprMark, "meta mark", "ct mark", masks["--nfmask"], masks["--ctmask"])
		return
	}
	if _, ok := args["--save-mark"]; ok {
		move(ExprCTMark, "ct mark", "meta mark", masks["--ctmask"], masks["--nfmask"])
		return
	}
	p.setMark(ExprCTMark, "ct mark", args)
}

func (p *ruleParser) nat(name string, args map[string]string) {
	n := &NAT{Do: strings.ToLower(name)}
	switch name {
	case "DNAT":
		n.to(args["--to-destination"])
	case "SNAT":
		n.to(args["--to-source"])
	case "NETMAP":
		n.Addr = &Operand{Op: "unknown"}
	default: // MASQUERADE, REDIRECT
		if ports, ok := args["--to-ports"]; ok {
			n.Port = portOperand(ports)
		}
	}
	p.add(Expr{Kind: ExprNAT, NAT: n})
}

// to reads 10.0.0.2, 10.0.0.2:8080, 10.0.0.2-10.0.0.9:80-90, :8080 and [fd00::2]:8080.
func (n *NAT) to(text string) {
	host, ports := text, ""
	if strings.HasPrefix(text, "[") {
		host, ports, _ = strings.Cut(text[1:], "]")
		ports = strings.TrimPrefix(ports, ":")
	} else if strings.Count(text, ":") == 1 {
		host, ports, _ = strings.Cut(text, ":")
	}
	if ports != "" {
		n.Port = portOperand(ports)
	}
	if host == "" {
		return
	}
	a, err := netip.ParseAddr(host)
	if err != nil { // a range: any of it
		n.Addr = &Operand{Op: "unknown"}
		return
	}
	c := constant(addrBytes(a))
	n.Addr = &c
}

func portOperand(text string) *Operand {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return &Operand{Op: "unknown"}
	}
	c := constant(number(n))
	return &c
}
