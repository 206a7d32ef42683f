package cluster

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/lab/home"
	"github.com/podpath/podpath/lab/pki"
	"github.com/podpath/podpath/lab/plan"
)

const metricsPort = 4443

var loopback = netip.MustParseAddr("127.0.0.1")

// credentials are the certificates and kubeconfigs of the control plane, as files.
type credentials struct {
	dir string
	ca  *pki.CA
}

func newCredentials(h home.Home) (*credentials, error) {
	ca, err := pki.LoadOrCreate(h.Path("pki", "kubernetes"))
	if err != nil {
		return nil, err
	}
	c := &credentials{dir: h.Path("kubernetes"), ca: ca}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	return c, c.write("ca.crt", ca.PEM())
}

func (c *credentials) path(name string) string { return filepath.Join(c.dir, name) }

func (c *credentials) write(name string, content []byte) error {
	return os.WriteFile(c.path(name), content, 0o600)
}

// issue writes NAME.crt and NAME.key.
func (c *credentials) issue(ca *pki.CA, name string, o pki.Options) error {
	_, cert, key, err := ca.Issue(o)
	if err != nil {
		return err
	}
	if err := c.write(name+".crt", cert); err != nil {
		return err
	}
	return c.write(name+".key", key)
}

// kubeconfig writes NAME.kubeconfig for a user of a group.
func (c *credentials) kubeconfig(name, server, user string, groups ...string) error {
	_, cert, key, err := c.ca.Issue(pki.Options{CommonName: user, Organization: groups, Client: true})
	if err != nil {
		return err
	}
	data, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": plan.Cluster,
		"clusters": []any{map[string]any{"name": plan.Cluster, "cluster": map[string]any{
			"server": server, "certificate-authority-data": c.ca.PEM(),
		}}},
		"users": []any{map[string]any{"name": user, "user": map[string]any{
			"client-certificate-data": cert, "client-key-data": key,
		}}},
		"contexts": []any{map[string]any{"name": plan.Cluster, "context": map[string]any{
			"cluster": plan.Cluster, "user": user,
		}}},
	})
	if err != nil {
		return err
	}
	return c.write(name+".kubeconfig", data)
}

// inVNet is the API server's address for what runs inside the VNet.
func inVNet() string { return "https://" + plan.APIServer.String() }

// issueControlPlane makes what the control plane's processes need.
func (c *credentials) issueControlPlane() error {
	frontProxy, err := pki.LoadOrCreate(filepath.Join(c.dir, "front-proxy-ca"))
	if err != nil {
		return err
	}
	server := pki.Options{
		CommonName: "kube-apiserver",
		DNSNames:   []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPs:        []netip.Addr{plan.APIServer.Addr(), plan.ServiceCIDR.Addr().Next(), loopback},
	}
	for _, cert := range []struct {
		ca   *pki.CA
		name string
		o    pki.Options
	}{
		{c.ca, "apiserver", server},
		{c.ca, "apiserver-kubelet-client", pki.Options{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}, Client: true}},
		{frontProxy, "front-proxy-client", pki.Options{CommonName: "front-proxy-client", Client: true}},
		{c.ca, "service-account", pki.Options{CommonName: "service-accounts"}},
		{c.ca, "metrics-server", pki.Options{CommonName: "metrics-server", DNSNames: []string{"metrics-server.kube-system.svc"}}},
	} {
		if err := c.issue(cert.ca, cert.name, cert.o); err != nil {
			return err
		}
	}
	for _, k := range []struct {
		name, user string
		groups     []string
	}{
		{"controller-manager", "system:kube-controller-manager", []string{"system:masters"}},
		{"scheduler", "system:kube-scheduler", nil},
		{"kube-proxy", "system:kube-proxy", nil},
		{"metrics-server", "system:metrics-server", []string{"system:masters"}},
	} {
		if err := c.kubeconfig(k.name, inVNet(), k.user, k.groups...); err != nil {
			return err
		}
	}
	return nil
}

func (c *credentials) etcd(data string) []string {
	return []string{
		"etcd", "--name=lab", "--data-dir=" + data, "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=lab=http://127.0.0.1:2380",
	}
}

func (c *credentials) apiServer() []string {
	return []string{
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", fmt.Sprintf("--secure-port=%d", plan.APIServer.Port()),
		"--advertise-address=" + plan.APIServer.Addr().String(),
		"--service-cluster-ip-range=" + plan.ServiceCIDR.String(),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--client-ca-file=" + c.path("ca.crt"),
		"--tls-cert-file=" + c.path("apiserver.crt"), "--tls-private-key-file=" + c.path("apiserver.key"),
		"--kubelet-client-certificate=" + c.path("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + c.path("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority=" + c.path("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.path("service-account.crt"), "--service-account-signing-key-file=" + c.path("service-account.key"),
		"--requestheader-client-ca-file=" + c.path("front-proxy-ca/ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.path("front-proxy-client.crt"), "--proxy-client-key-file=" + c.path("front-proxy-client.key"),
		"--enable-aggregator-routing=true", // metrics-server is beside the API server, where no kube-proxy is
		"--enable-priority-and-fairness=false", "--profiling=false",
	}
}

func (c *credentials) controllerManager() []string {
	return []string{
		"--kubeconfig=" + c.path("controller-manager.kubeconfig"), "--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false",
		"--allocate-node-cidrs=false", "--service-cluster-ip-range=" + plan.ServiceCIDR.String(),
		"--root-ca-file=" + c.path("ca.crt"), "--service-account-private-key-file=" + c.path("service-account.key"),
		"--kube-api-qps=300", "--kube-api-burst=600", "--node-monitor-period=1s",
	}
}

// scheduler writes its configuration. A pod that found no ready node tries again soon.
func (c *credentials) scheduler() ([]string, error) {
	config, err := yaml.Marshal(map[string]any{
		"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
		"leaderElection":           map[string]any{"leaderElect": false},
		"clientConnection":         map[string]any{"kubeconfig": c.path("scheduler.kubeconfig"), "qps": 300, "burst": 600},
		"podInitialBackoffSeconds": 1, "podMaxBackoffSeconds": 1,
	})
	if err != nil {
		return nil, err
	}
	return []string{"--config=" + c.path("scheduler.yaml"), "--bind-address=127.0.0.1", "--profiling=false"}, c.write("scheduler.yaml", config)
}

func (c *credentials) metricsServer() []string {
	return []string{
		"--kubeconfig=" + c.path("metrics-server.kubeconfig"), "--authentication-kubeconfig=" + c.path("metrics-server.kubeconfig"),
		"--authorization-kubeconfig=" + c.path("metrics-server.kubeconfig"),
		"--tls-cert-file=" + c.path("metrics-server.crt"), "--tls-private-key-file=" + c.path("metrics-server.key"),
		fmt.Sprintf("--secure-port=%d", metricsPort), "--metric-resolution=10s", "--kubelet-request-timeout=5s",
		"--kubelet-preferred-address-types=InternalIP", "--kubelet-certificate-authority=" + c.path("ca.crt"),
	}
}
