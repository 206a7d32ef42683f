package node

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// sysctlDirs are where systemd-sysctl looks, the first wins for a file of the
// same name (sysctl.d(5)). What lies in /run is gone with a reboot, but it would
// hide a file of /usr.
var sysctlDirs = []string{"etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d"}

const (
	maxFiles      = 256
	maxConfigFile = 64 << 10
)

// persisted finds what sets sysctls at boot: files in the order of their names,
// whatever their folder; the last line wins.
func (r *reader) persisted(host string) {
	where := map[string]string{}
	found := false
	for _, dir := range sysctlDirs {
		entries, err := os.ReadDir(filepath.Join(host, dir))
		if err != nil {
			continue
		}
		found = true
		for _, e := range entries {
			if name := e.Name(); strings.HasSuffix(name, ".conf") && where[name] == "" && len(where) < maxFiles {
				where[name] = "/" + dir + "/" + name
			}
		}
	}
	if !found {
		r.gap("files that set sysctls at boot", os.ErrNotExist, "a read-only hostPath of /etc and /usr (--node-reader=full)")
		return
	}
	r.facts.Persisted = map[string]model.SysctlFile{}
	for _, name := range sortedNames(where) {
		text, err := r.hostFile(host, where[name])
		if err != nil {
			r.gap(where[name], err, "")
			continue
		}
		for key, value := range parseSysctlConf(text) {
			r.facts.Persisted[key] = model.SysctlFile{Value: value, File: where[name]}
		}
	}
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// hostFile reads a file of the node, bounded.
func (r *reader) hostFile(host, path string) (string, error) {
	seen, err := hostFS{host}.resolve(path)
	if err != nil {
		return "", err
	}
	inside := &reader{root: "/", facts: r.facts}
	text, err := inside.file(seen)
	return text[:min(len(text), maxConfigFile)], err
}

// parseSysctlConf reads the lines of one file that concern the network. A dash in
// front means that errors do not matter; slashes may stand for dots.
func parseSysctlConf(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		key, value, ok := strings.Cut(strings.TrimPrefix(line, "-"), "=")
		if !ok {
			continue
		}
		if key = strings.TrimSpace(key); strings.IndexByte(key, '/') >= 0 && strings.IndexByte(key, '/') < len(key) && !strings.Contains(strings.SplitN(key, "/", 2)[0], ".") {
			key = strings.ReplaceAll(key, "/", ".")
		}
		if strings.HasPrefix(key, "net.") && len(key) < 128 {
			out[key] = strings.Join(strings.Fields(value), " ")
		}
	}
	return out
}

// kubeletFlags are those that concern the network.
var kubeletFlags = []string{
	"cluster-dns", "cluster-domain", "resolv-conf", "hairpin-mode", "max-pods", "pod-cidr", "node-ip", "network-plugin", "protect-kernel-defaults",
	"allowed-unsafe-sysctls", "make-iptables-util-chains", "config", "cloud-provider", "non-masquerade-cidr", "network-plugin-mtu",
}

var flagWord = regexp.MustCompile(`--([a-z-]+)[= ]("[^"]*"|[^ "\\\n]*)`)

// configuration reads what kubelet and network plugin are told.
func (r *reader) configuration(host string) {
	if text, err := r.hostFile(host, "/etc/default/kubelet"); err == nil {
		r.facts.Kubelet = parseKubelet(text)
	} else if !os.IsNotExist(err) {
		r.gap("/etc/default/kubelet", err, "")
	}
	entries, err := os.ReadDir(filepath.Join(host, "etc/cni/net.d"))
	if err != nil && !os.IsNotExist(err) {
		r.gap("/etc/cni/net.d", err, "")
		return
	}
	if _, etc := os.Stat(filepath.Join(host, "etc")); etc != nil {
		r.gap("/etc/cni/net.d", etc, "a read-only hostPath of /etc (--node-reader=full)")
		return
	}
	r.facts.CNIRead = true
	for _, e := range entries[:min(len(entries), 32)] {
		if ext := filepath.Ext(e.Name()); ext != ".conflist" && ext != ".conf" && ext != ".json" || !e.Type().IsRegular() {
			continue // a kubeconfig may lie here too: it is a secret, and not read
		}
		text, err := r.hostFile(host, "/etc/cni/net.d/"+e.Name())
		if err != nil {
			r.gap("/etc/cni/net.d/"+e.Name(), err, "")
			continue
		}
		r.facts.CNI = append(r.facts.CNI, parseCNI(e.Name(), text))
	}
}

func parseKubelet(text string) map[string]string {
	out := map[string]string{}
	for _, m := range flagWord.FindAllStringSubmatch(text, -1) {
		if slices.Contains(kubeletFlags, m[1]) {
			out[m[1]] = strings.Trim(m[2], `"`)
		}
	}
	return out
}

// parseCNI keeps of a configuration what tells how pods are connected.
func parseCNI(file, text string) model.CNIConfig {
	type settings struct {
		Type        string
		Bridge      string
		MTU         int
		HairpinMode bool
		IPAM        struct{ Type string }
	}
	type plugin struct {
		settings
		Delegate settings // what Flannel's plugin, and others that only choose, hand on
	}
	var doc struct {
		Name    string
		Plugins []plugin
		plugin
	}
	out := model.CNIConfig{File: file}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		return out
	}
	out.Name = doc.Name
	plugins := doc.Plugins
	if len(plugins) == 0 {
		plugins = []plugin{doc.plugin}
	}
	for _, p := range plugins[:min(len(plugins), 16)] {
		out.Plugins = append(out.Plugins, p.Type)
		for _, s := range []settings{p.settings, p.Delegate} {
			out.Bridge, out.IPAM = cmp.Or(s.Bridge, out.Bridge), cmp.Or(s.IPAM.Type, out.IPAM)
			out.MTU, out.Hairpin = max(out.MTU, s.MTU), out.Hairpin || s.HairpinMode
		}
	}
	return out
}
