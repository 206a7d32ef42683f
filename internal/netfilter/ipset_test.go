package netfilter

import (
	"net/netip"
	"strings"
	"testing"
)

const someSets = `create blocked hash:net family inet hashsize 1024 maxelem 65536
add blocked 10.0.0.0/8 comment "all of \"us\""
add blocked 10.0.0.2/31 nomatch
add blocked 10.0.0.3
create web hash:ip,port family inet hashsize 1024 maxelem 65536 timeout 300
add web 10.0.0.2,tcp:80 timeout 12
add web 10.0.0.3,udp:80 timeout 12
create ports bitmap:port range 0-65535
add ports 80-81
create span bitmap:ip range 10.0.0.0-10.0.0.255
add span 10.0.0.2-10.0.0.3
create six hash:net family inet6 hashsize 1024 maxelem 65536
add six 2000::/3
create from hash:net,iface family inet hashsize 1024 maxelem 65536
add from 10.0.0.0/24,in
create narrow hash:net,iface family inet hashsize 1024 maxelem 65536
add narrow 10.0.0.0/8,out
add narrow 10.0.0.3,in
add narrow 10.0.0.0/31,i wildcard
create odd hash:mac hashsize 1024 maxelem 65536
add odd 02:00:00:00:00:01
create both list:set size 8
add both web
add both six
create empty hash:ip family inet hashsize 1024 maxelem 65536
create mixed list:set size 8
add mixed empty
add mixed odd
`

func TestIPSets(t *testing.T) {
	sets, err := ParseIPSets(someSets)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		match, to string
		want      Verdict
	}{
		{"--match-set blocked dst", "10.9.9.9:80", Drop},
		{"--match-set blocked dst", "10.0.0.2:80", Accept}, // nomatch
		{"--match-set blocked dst", "10.0.0.3:80", Drop},   // within nomatch, and narrower
		{"--match-set blocked dst", "203.0.113.1:80", Accept},
		{"! --match-set blocked dst", "203.0.113.1:80", Drop},
		{"--match-set blocked src", "203.0.113.1:80", Drop}, // the client is in it
		{"--match-set web dst,dst", "10.0.0.2:80", Drop},
		{"--match-set web dst,dst", "10.0.0.2:443", Accept},
		{"--match-set web dst,dst", "10.0.0.3:80", Accept}, // another protocol
		{"--match-set web dst", "10.0.0.2:80", Unknown},    // too few directions: the kernel refuses such a rule
		{"--match-set ports dst", "10.0.0.2:80", Drop},
		{"--match-set ports dst", "10.0.0.2:82", Accept},
		{"--match-set span dst", "10.0.0.3:80", Drop},
		{"--match-set span dst", "10.0.0.4:80", Accept},
		{"--match-set six dst", "10.0.0.3:80", Accept},
		{"--match-set from src,src", "10.0.0.3:80", Drop},
		{"--match-set from src,dst", "10.0.0.3:80", Accept},
		{"--match-set both dst,dst", "10.0.0.2:80", Drop},
		{"--match-set both dst,dst", "10.0.0.3:80", Accept},
		{"--match-set odd src", "10.0.0.3:80", Unknown},
		{"--match-set mixed src", "10.0.0.3:80", Unknown},
		{"--match-set empty dst", "10.0.0.3:80", Accept},
		{"--match-set nobody dst", "10.0.0.3:80", Unknown},
		{"--match-set blocked dst --return-nomatch", "203.0.113.1:80", Unknown},
		{"--match-set narrow dst,dst", "10.0.0.2:80", Drop},
		{"--match-set narrow dst,dst", "10.0.0.3:80", Accept}, // a narrower network has it, with another interface
		{"--match-set narrow src,src", "10.0.0.3:80", Drop},   // by the wildcard
		{"--match-set blocked dst --return-nomatch", "10.0.0.2:80", Unknown},
		{"--match-set web dst,dst ! --update-counters", "10.0.0.2:80", Drop},
	} {
		rs := save(t, "*filter", ":FORWARD ACCEPT [0:0]", "-A FORWARD -m set "+c.match+" -j DROP", "COMMIT")
		rs.IPSets = sets
		if got := forwardNew(rs, netip.MustParseAddrPort(c.to)); got.Verdict() != c.want {
			t.Errorf("%s, to %s: %s, want %s", c.match, c.to, got.Verdict(), c.want)
		}
	}
	// A set that the rules fill themselves may hold what no list of it shows.
	rs := Merge(save(t, "*filter", ":FORWARD ACCEPT [0:0]", "-A FORWARD -j SET --add-set empty dst", "-A FORWARD -m set --match-set empty dst -j DROP", "COMMIT"))
	rs.IPSets = sets
	if got := forwardNew(rs, web); got.Verdict() != Unknown {
		t.Errorf("a set that fills: %s", got.Verdict())
	}
}

func TestIPSetsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"flush x":                             `line 1: "flush x" neither`,
		"create a hash:ip family inet\nadd a": `line 2: "add a" neither`,
		"add a \"10.0.0.1":                    "line 1: a quote",
	} {
		if _, err := ParseIPSets(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	sets, err := ParseIPSets("create a hash:ip family inet\nadd a nonsense\ncreate b hash:ip,port family inet\nadd b 10.0.0.1\nadd c 10.0.0.1\ncreate d hash:ip,mark\nadd d 10.0.0.1,0x10")
	if err != nil || sets["a"] != nil || sets["b"] != nil || sets["d"] == nil {
		t.Errorf("%v %v", sets, err)
	}
}

func FuzzParseIPSets(f *testing.F) {
	f.Add(someSets)
	f.Add("create a list:set size 8\nadd a a\n")
	rules := "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m set --match-set a src,dst -j DROP\n-A FORWARD -m set --match-set blocked dst -j DROP\nCOMMIT\n"
	f.Fuzz(func(t *testing.T, text string) {
		sets, err := ParseIPSets(text)
		if err != nil {
			return
		}
		rs, err := ParseSave(rules, "ip", BackendNFT)
		if err != nil {
			t.Fatal(err)
		}
		rs.IPSets = sets
		forwardNew(rs, web)
	})
}
