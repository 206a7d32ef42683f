package node

import (
	"maps"
	"testing"
)

const levelsText = "cpu  100 0 50 800 10 0 5 1 0 0\ncpu0 50 0 25 400 5 0 2 0 0 0\ncpu1 50 0 25 400 5 0 3 1 0 0\nintr 5\n"

const (
	routeText = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"azv1\t0901F40A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\neth0\t00000000\t0100010A\t0003\t0\t0\t100\t00000000\t0\t0\t0\neth1\t00000000\t0100020A\t0003\t0\t0\t200\t00000000\t0\t0\t0\n"
	devText = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n" +
		"    lo: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0\n  eth0: 5000 50 1 2 0 0 0 0 7000 70 3 4 0 0 0 0\n  azv1: 8 8 8 8 0 0 0 0 8 8 8 8 0 0 0 0\n"
)

func TestLevels(t *testing.T) {
	got := map[string]float64{}
	parseCPU(levelsText, got)
	parseLoad("3.50 0.40 0.30 7/345 6789\n", got)
	parseMemory("MemTotal:       100 kB\nMemFree: 5 kB\nMemAvailable:    40 kB\n", got)
	parseFiles("1234 0 9999\n", got)
	parseSockets("sockets: used 9\nTCP: inuse 5 orphan 1 tw 2 alloc 9 mem 1\nUDP: inuse 1\n", got)
	parseDisks(" 8 0 sda 1 0 2 3 4 5 6 7 0 777 9 0\n 7 0 loop0 1 0 2 3 4 5 6 7 0 999 9 0\n", got)
	parseUptime("88.25 9.1\n", got)
	parseDevices(devText, defaultDevice(routeText), got)
	want := map[string]float64{
		"cpu.user": 100, "cpu.nice": 0, "cpu.system": 50, "cpu.idle": 800, "cpu.iowait": 10, "cpu.irq": 0, "cpu.softirq": 5, "cpu.steal": 1, "cpus": 2,
		"load": 3.5, "running": 7, "memory.total": 102400, "memory.available": 40960, "files": 1234, "files.max": 9999, "tcp.inuse": 5, "tcp.orphan": 1, "tcp.tw": 2, "disk.busy": 777,
		"uptime": 88.25, "nic.rx.bytes": 5000, "nic.rx.errors": 1, "nic.rx.drops": 2, "nic.tx.bytes": 7000, "nic.tx.errors": 3, "nic.tx.drops": 4,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func FuzzLevels(f *testing.F) {
	f.Add(levelsText)
	f.Add("3.50 0.40 0.30 7/345 6789\n")
	f.Add(devText)
	f.Add(routeText)
	f.Add("TCP: inuse 5 orphan 1 tw 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		got := map[string]float64{}
		for _, parse := range []func(string, map[string]float64){parseLoad, parseCPU, parseMemory, parseFiles, parseSockets, parseDisks, parseUptime} {
			parse(text, got)
		}
		parseDevices(text, defaultDevice(text), got)
		parseDevices(text, "eth0", got)
		for name, n := range got {
			if n < 0 {
				t.Errorf("%s is %g", name, n)
			}
		}
	})
}
