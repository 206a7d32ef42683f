package daemon

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/cluster"
	"github.com/podpath/podpath/lab/enforcer"
	"github.com/podpath/podpath/lab/fabric"
	"github.com/podpath/podpath/lab/home"
	"github.com/podpath/podpath/lab/internet"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/pki"
	"github.com/podpath/podpath/lab/plan"
)

// clientID is the one application that gets tokens in the lab's directory.
const clientID = "00000000-0000-0000-0000-000000000004"

// world is what is around the cluster: the fabric, ARM and the internet.
type world struct {
	store    *arm.Store
	internet *internet.Internet
	armURL   string
	secret   string
}

// startWorld builds the network, fills the store, and has the fabric follow it.
func (d *daemon) startWorld(ctx context.Context, ca *pki.CA) (*world, error) {
	w := &world{store: arm.NewStore(), secret: rand.Text()}
	if err := arm.Seed(w.store, d.plan); err != nil {
		return nil, fmt.Errorf("documents of the world: %w", err)
	}
	f := fabric.New(d.plan)
	done := d.board.step("fabric")
	err := f.Up(ctx)
	if err == nil {
		w.store.OnChange(f.Apply)
		err = f.Apply(w.store.All())
	}
	done(err)
	if err != nil {
		return nil, fmt.Errorf("fabric: %w", err)
	}
	done = d.board.step("internet")
	w.internet, err = internet.Start(ctx, d.plan, w.store, ca, internet.Options{Log: log.Printf})
	done(err)
	if err != nil {
		return nil, err
	}
	return w, d.serveARM(ctx, w, f, ca)
}

// serveARM answers on the loopback of this machine and of the laptop.
func (d *daemon) serveARM(ctx context.Context, w *world, f *fabric.Fabric, ca *pki.CA) error {
	here, there, err := onLoopback(netns.Name(d.plan.Lab, "laptop"))
	if err != nil {
		return fmt.Errorf("a port for ARM: %w", err)
	}
	w.armURL = "https://" + here.Addr().String()
	pair, _, _, err := ca.Issue(pki.Options{
		CommonName: "management.lab", DNSNames: []string{"localhost"},
		IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
	})
	if err != nil {
		return err
	}
	server := arm.NewServer(w.store, arm.Options{
		Tenant: plan.Tenant, ClientID: clientID, ClientSecret: w.secret, Metric: f.Metric,
		Kubeconfig: func() ([]byte, error) { return os.ReadFile(cluster.Kubeconfig(d.home)) },
	})
	go func() {
		config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		if err := server.Serve(ctx, config, []net.Listener{here, there}...); err != nil && ctx.Err() == nil {
			log.Printf("ARM: %v", err)
		}
	}()
	return nil
}

// env are the variables by which Azure's own tools are pointed at a cloud that is not one of theirs.
func (w *world) env(h home.Home) ([]home.Var, error) {
	file := h.Path("azure-environment.json")
	data, err := json.MarshalIndent(map[string]string{
		"name": "AzureStackCloud", "managementPortalURL": w.armURL + "/", "publishSettingsURL": w.armURL + "/",
		"serviceManagementEndpoint": w.armURL + "/", "resourceManagerEndpoint": w.armURL + "/",
		"activeDirectoryEndpoint": w.armURL + "/", "tokenAudience": w.armURL + "/",
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return nil, err
	}
	return []home.Var{
		{Name: "AZURE_ENVIRONMENT", Value: "AZURESTACKCLOUD"},
		{Name: "AZURE_ENVIRONMENT_FILEPATH", Value: file},
		{Name: "AZURE_AUTHORITY_HOST", Value: w.armURL + "/"},
		{Name: "AZURE_TENANT_ID", Value: plan.Tenant},
		{Name: "AZURE_SUBSCRIPTION_ID", Value: plan.Subscription},
		{Name: "AZURE_CLIENT_ID", Value: clientID},
		{Name: "AZURE_CLIENT_SECRET", Value: w.secret},
	}, nil
}

// follow has the nodes use the name servers that the VNet names, as a renewed DHCP lease would.
func (w *world) follow(c *cluster.Cluster) {
	w.store.AfterChange(func() {
		if err := c.SetResolvers(internet.NodeResolvers(w.store)); err != nil {
			log.Printf("name servers of the nodes: %v", err)
		}
	})
}

// enforce starts the policy engine, where the topology has one.
func (d *daemon) enforce(ctx context.Context, c *cluster.Cluster) error {
	if d.plan.Topology.Policy != "enforced" {
		return nil
	}
	e, err := enforcer.New(c.Kubeconfig(), d.plan)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.enforcer = e
	d.mu.Unlock()
	go func() {
		if err := e.Run(ctx); err != nil && ctx.Err() == nil {
			log.Printf("policy enforcer: %v", err)
		}
	}()
	return nil
}
