package node

import (
	"maps"
	"testing"
)

const levelsText = "cpu  100 0 50 800 10 0 5 1 0 0\ncpu0 50 0 25 400 5 0 2 0 0 0\ncpu1 50 0 25 400 5 0 3 1 0 0\nintr 5\n"

func TestLevels(t *testing.T) {
	got := map[string]float64{}
	parseCPU(levelsText, got)
	parseLoad("3.50 0.40 0.30 7/345 6789\n", got)
	parseMemory("MemTotal:       100 kB\nMemFree: 5 kB\nMemAvailable:    40 kB\n", got)
	parseFiles("1234 0 9999\n", got)
	parseSockets("sockets: used 9\nTCP: inuse 5 orphan 1 tw 2 alloc 9 mem 1\nUDP: inuse 1\n", got)
	parseDisks(" 8 0 sda 1 0 2 3 4 5 6 7 0 777 9 0\n 7 0 loop0 1 0 2 3 4 5 6 7 0 999 9 0\n", got)
	want := map[string]float64{
		"cpu.user": 100, "cpu.nice": 0, "cpu.system": 50, "cpu.idle": 800, "cpu.iowait": 10, "cpu.irq": 0, "cpu.softirq": 5, "cpu.steal": 1, "cpus": 2,
		"load": 3.5, "running": 7, "memory.total": 102400, "memory.available": 40960, "files": 1234, "files.max": 9999, "tcp.inuse": 5, "tcp.orphan": 1, "tcp.tw": 2, "disk.busy": 777,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func FuzzLevels(f *testing.F) {
	f.Add(levelsText)
	f.Add("3.50 0.40 0.30 7/345 6789\n")
	f.Add("TCP: inuse 5 orphan 1 tw 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		got := map[string]float64{}
		for _, parse := range []func(string, map[string]float64){parseLoad, parseCPU, parseMemory, parseFiles, parseSockets, parseDisks} {
			parse(text, got)
		}
		for name, n := range got {
			if n < 0 {
				t.Errorf("%s is %g", name, n)
			}
		}
	})
}
