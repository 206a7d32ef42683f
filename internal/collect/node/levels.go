package node

import (
	"strconv"
	"strings"
)

// levels reads what is used of the machine now, and the time that its CPUs have
// spent: with a second reading, how busy they were meanwhile.
func (r *reader) levels() {
	levels := map[string]float64{}
	for _, source := range []struct {
		path  string
		parse func(string, map[string]float64)
	}{
		{"proc/loadavg", parseLoad},
		{"proc/stat", parseCPU},
		{"proc/meminfo", parseMemory},
		{"proc/sys/fs/file-nr", parseFiles},
		{"proc/net/sockstat", parseSockets},
		{"proc/diskstats", parseDisks},
		{"proc/uptime", parseUptime},
		{"proc/net/dev", r.interfaces()},
	} {
		text, err := r.file(source.path)
		if err != nil {
			r.gap("/"+source.path, err, "")
			continue
		}
		source.parse(text, levels)
	}
	if len(levels) > 0 {
		r.facts.Levels = levels
	}
}

func level(text string) (float64, bool) {
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && n >= 0 && n < 1<<60
}

// parseLoad reads "0.50 0.40 0.30 2/345 6789": the load of one minute, and the
// processes that run or wait to run now (proc_loadavg(5)).
func parseLoad(text string, to map[string]float64) {
	words := strings.Fields(text)
	if len(words) < 4 {
		return
	}
	if n, ok := level(words[0]); ok {
		to["load"] = n
	}
	running, _, _ := strings.Cut(words[3], "/")
	if n, ok := level(running); ok {
		to["running"] = n
	}
}

// cpuTimes are the columns of the first line of /proc/stat (proc_stat(5)), in ticks.
var cpuTimes = []string{"cpu.user", "cpu.nice", "cpu.system", "cpu.idle", "cpu.iowait", "cpu.irq", "cpu.softirq", "cpu.steal"}

func parseCPU(text string, to map[string]float64) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || !strings.HasPrefix(words[0], "cpu") {
			return // they come first
		}
		if words[0] != "cpu" {
			to["cpus"]++
			continue
		}
		for i, name := range cpuTimes {
			if i+1 < len(words) {
				if n, ok := level(words[i+1]); ok {
					to[name] = n
				}
			}
		}
	}
}

// parseMemory keeps what is there and what can be had, in bytes (proc_meminfo(5)).
func parseMemory(text string, to map[string]float64) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		name := map[string]string{"MemTotal:": "memory.total", "MemAvailable:": "memory.available"}[words[0]]
		if n, ok := level(words[1]); ok && name != "" {
			to[name] = n * 1024
		}
	}
}

// parseFiles reads "1234 0 9223372": open files of the machine, and how many may be.
func parseFiles(text string, to map[string]float64) {
	words := strings.Fields(text)
	if len(words) != 3 {
		return
	}
	if n, ok := level(words[0]); ok {
		to["files"] = n
	}
	if n, ok := level(words[2]); ok {
		to["files.max"] = n
	}
}

// parseSockets reads "TCP: inuse 5 orphan 0 tw 2 alloc 9 mem 1".
func parseSockets(text string, to map[string]float64) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "TCP:" {
			continue
		}
		for i := 1; i+1 < len(words); i += 2 {
			if n, ok := level(words[i+1]); ok && (words[i] == "inuse" || words[i] == "orphan" || words[i] == "tw") {
				to["tcp."+words[i]] = n
			}
		}
	}
}

// parseDisks sums the milliseconds in which disks were busy (Documentation/admin-guide/iostats.rst, field 10).
func parseDisks(text string, to map[string]float64) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 13 || strings.HasPrefix(words[2], "loop") || strings.HasPrefix(words[2], "ram") {
			continue
		}
		if n, ok := level(words[12]); ok {
			to["disk.busy"] = max(to["disk.busy"], n)
		}
	}
}
