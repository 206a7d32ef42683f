// Package daemon is the process behind a lab: it builds the lab part by part,
// keeps its processes running, and answers the control socket. It ends with
// SIGTERM, or when `down` ends every process of the lab.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/podpath/podpath/lab/cluster"
	"github.com/podpath/podpath/lab/enforcer"
	"github.com/podpath/podpath/lab/home"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/pki"
	"github.com/podpath/podpath/lab/plan"
)

type daemon struct {
	home  home.Home
	plan  *plan.Plan
	bin   string
	board board
	world *world

	mu       sync.Mutex
	cluster  *cluster.Cluster
	enforcer *enforcer.Enforcer // nil: policies are not enforced
	changes  map[string]func()  // handle → how to take a change of a host back
	handles  int
}

// Run is the daemon's life. bin is the folder of the lab's programs.
func Run(ctx context.Context, h home.Home, bin string) error {
	if err := h.Join(); err != nil { // first of all: from here on `down` finds this process
		return err
	}
	p, err := h.Plan()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &daemon{home: h, plan: p, bin: bin, changes: map[string]func(){}}
	d.board.start = time.Now()
	d.board.status = Status{Lab: h.Lab, State: Starting, Pid: os.Getpid(), Since: time.Now(), Topology: p.Topology, Nodes: nodes(p)}
	socket, err := net.Listen("unix", h.Socket())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: d.control(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	serving := make(chan error, 1)
	go func() { serving <- server.Serve(socket) }()

	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		log.Printf("the lab did not come up: %v", err)
		d.board.change(func(s *Status) { s.State, s.Error = Failed, err.Error() })
	} else {
		log.Printf("the lab is up after %.1fs", d.board.seconds())
		d.board.change(func(s *Status) { s.State = Ready })
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-serving:
		return err
	}
}

func nodes(p *plan.Plan) []StatusOfNode {
	var list []StatusOfNode
	for _, n := range p.Nodes {
		list = append(list, StatusOfNode{n.Name, n.Addr.String(), netns.Name(p.Lab, "node-"+n.Name), n.PodCIDR.String()})
	}
	return list
}

// start builds the lab; the environment is written when all of it is there.
func (d *daemon) start(ctx context.Context) error {
	ca, err := pki.LoadOrCreate(d.home.CADir())
	if err != nil {
		return err
	}
	if d.world, err = d.startWorld(ctx, ca); err != nil {
		return err
	}
	here, there, err := onLoopback(netns.Name(d.plan.Lab, "laptop"))
	if err != nil {
		return fmt.Errorf("a port for the API server: %w", err)
	}
	api := "https://" + here.Addr().String()
	forward(ctx, func(ctx context.Context) (net.Conn, error) {
		return netns.Dial(ctx, netns.Name(d.plan.Lab, "cp"), "tcp", plan.APIServer.String())
	}, here, there)
	d.board.change(func(s *Status) { s.API, s.ARM = api, d.world.armURL })
	c, err := cluster.Start(ctx, cluster.Options{Home: d.home, Plan: d.plan, Bin: d.bin, CA: ca, Server: api, Step: d.board.step})
	d.mu.Lock()
	d.cluster = c
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := d.enforce(ctx, c); err != nil {
		return err
	}
	d.world.follow(c)
	if err := d.writeEnv(ca, c); err != nil {
		return err
	}
	d.board.change(func(s *Status) { s.State = Usable })
	return c.Metrics(ctx)
}

// writeEnv stores the environment in which kubectl, the Azure tools and podpath find the lab.
func (d *daemon) writeEnv(ca *pki.CA, c *cluster.Cluster) error {
	bundle := d.home.Path("ca-bundle.crt")
	trusted := ca.PEM()
	if system, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt"); err == nil {
		trusted = append(append([]byte(nil), system...), trusted...)
	}
	if err := os.WriteFile(bundle, trusted, 0o644); err != nil {
		return err
	}
	tools := d.home.Path("bin")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(d.bin, "podpath-kube"), filepath.Join(tools, "kubectl")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	env := []home.Var{
		{Name: "PODPATH_LAB", Value: d.home.Lab},
		{Name: "KUBECONFIG", Value: c.Kubeconfig()},
		{Name: "SSL_CERT_FILE", Value: bundle}, // Go, OpenSSL
		{Name: "CURL_CA_BUNDLE", Value: bundle},
		{Name: "REQUESTS_CA_BUNDLE", Value: bundle}, // Python, and so az
		{Name: home.PathVar, Value: d.bin + ":" + tools},
	}
	if c.HasProbe() {
		env = append(env, home.Var{Name: "PODPATH_PROBE_IMAGE", Value: cluster.ProbeImage})
	}
	azure, err := d.world.env(d.home)
	if err != nil {
		return err
	}
	return d.home.WriteEnv(append(env, azure...))
}

func (d *daemon) status() Status {
	s := d.board.read()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cluster != nil {
		s.Processes = d.cluster.Processes()
	}
	return s
}

func (d *daemon) serve(host string, spec map[string]any) (string, error) {
	if s := d.board.read(); s.State != Ready && s.State != Usable {
		return "", fmt.Errorf("lab %s is %s", s.Lab, s.State)
	}
	undo, err := d.world.internet.Serve(host, spec)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handles++
	handle := strconv.Itoa(d.handles)
	d.changes[handle] = undo
	return handle, nil
}

func (d *daemon) unserve(handle string) error {
	d.mu.Lock()
	undo, ok := d.changes[handle]
	delete(d.changes, handle)
	d.mu.Unlock()
	if !ok {
		return fmt.Errorf("no change %q of a host to take back", handle)
	}
	undo()
	return nil
}
