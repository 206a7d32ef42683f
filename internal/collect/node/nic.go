package node

import "strings"

// interfaces gives the parser of /proc/net/dev that keeps the interface of the
// default route: what leaves the machine, and what reaches it, goes by that one. A
// node has another for each pod.
func (r *reader) interfaces() func(string, map[string]float64) {
	routes, err := r.file("proc/net/route")
	if err != nil {
		r.gap("/proc/net/route", err, "")
	}
	device := defaultDevice(routes)
	return func(text string, to map[string]float64) { parseDevices(text, device, to) }
}

// defaultDevice finds the interface of the default route in /proc/net/route (words:
// interface, destination, gateway, flags, two counters, metric, mask; numbers in
// hexadecimal but for the metric). Of several the first is the best: the kernel
// lists them by metric.
func defaultDevice(routes string) string {
	for line := range strings.Lines(routes) {
		if words := strings.Fields(line); len(words) >= 8 && words[1] == "00000000" && words[7] == "00000000" {
			return words[0]
		}
	}
	return ""
}

// nicColumns are those of /proc/net/dev after the interface's name (proc_net(5)).
var nicColumns = map[int]string{0: "nic.rx.bytes", 2: "nic.rx.errors", 3: "nic.rx.drops", 8: "nic.tx.bytes", 10: "nic.tx.errors", 11: "nic.tx.drops"}

func parseDevices(text, device string, to map[string]float64) {
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		words := strings.Fields(rest)
		if !ok || device == "" || strings.TrimSpace(name) != device || len(words) < 12 {
			continue
		}
		for i, key := range nicColumns {
			if n, ok := level(words[i]); ok {
				to[key] = n
			}
		}
	}
}

// parseUptime reads "12345.67 23456.78": seconds since the machine started.
func parseUptime(text string, to map[string]float64) {
	if words := strings.Fields(text); len(words) > 0 {
		if n, ok := level(words[0]); ok {
			to["uptime"] = n
		}
	}
}
