// Package home knows where a lab keeps what it has: its folder, its lock, its
// control groups; and how to take all of it away again, whatever state the lab
// was left in.
package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/podpath/podpath/lab/plan"
)

// Root holds one folder per lab.
const Root = "/var/lib/podpath-lab"

// DefaultName is the lab's name when none is given.
const DefaultName = "lab"

// Home is one lab's place on this machine.
type Home struct{ Lab string }

// A dash would let lab "a" take the namespaces of lab "a-b" for its own: they are found by prefix.
var validName = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)

// Of is the home of a lab of that name, which need not be up.
func Of(lab string) (Home, error) {
	if !validName.MatchString(lab) {
		return Home{}, fmt.Errorf("%q is no name for a lab: up to 12 lower-case letters and digits, a letter first", lab)
	}
	return Home{lab}, nil
}

// All lists the homes found on this machine, up or left behind.
func All() ([]Home, error) {
	var homes []Home
	for _, dir := range append([]string{Root}, cgroupRoots()...) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if h, err := Of(e.Name()); err == nil && e.IsDir() && !slices.Contains(homes, h) {
				homes = append(homes, h)
			}
		}
	}
	return homes, nil
}

// Path is a file or folder of this lab.
func (h Home) Path(elem ...string) string {
	return filepath.Join(append([]string{Root, h.Lab}, elem...)...)
}

// Socket is the daemon's control socket.
func (h Home) Socket() string { return h.Path("lab.sock") }

// Log is the log file of one of the lab's processes.
func (h Home) Log(process string) string { return h.Path("log", process+".log") }

// CADir holds the authority that the lab's pods trust.
func (h Home) CADir() string { return h.Path("pki", "public") }

// Exists says whether anything of this lab is on the machine.
func (h Home) Exists() bool {
	if _, err := os.Stat(h.Path()); err == nil {
		return true
	}
	return len(h.cgroups()) > 0
}

// ErrBusy says that another command is bringing this lab up or down.
var ErrBusy = errors.New("another up or down of this lab is under way")

// Lock keeps other commands from bringing this lab up or down. It is an abstract
// socket: the kernel lets it go with the process, and no file stays behind.
func (h Home) Lock() (release func(), err error) {
	l, err := net.Listen("unix", "@podpath-lab/"+h.Lab+"/lock")
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("lab %s: %w", h.Lab, ErrBusy)
	}
	if err != nil {
		return nil, err
	}
	return func() { l.Close() }, nil
}

// Create makes the folder and the control groups, and stores the topology.
func (h Home) Create(t plan.Topology) error {
	if err := os.MkdirAll(h.Path("log"), 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(h.Path("topology.json"), data, 0o644); err != nil {
		return err
	}
	return h.createCgroup("daemon")
}

// Plan reads back what Create stored.
func (h Home) Plan() (*plan.Plan, error) {
	data, err := os.ReadFile(h.Path("topology.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no lab %s is up (podpath-lab up --name %s)", h.Lab, h.Lab)
	}
	if err != nil {
		return nil, err
	}
	var t plan.Topology
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("%s: %w", h.Path("topology.json"), err)
	}
	return plan.New(h.Lab, t)
}

// PathVar is the one variable whose value comes before what the user has, instead of replacing it.
const PathVar = "PATH"

// Var is one variable of the environment in which tools find the lab.
type Var struct{ Name, Value string }

// WriteEnv stores the environment.
func (h Home) WriteEnv(env []Var) error {
	data, err := json.MarshalIndent(env, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(h.Path("env.json"), data, 0o600)
}

// Env reads the environment back.
func (h Home) Env() ([]Var, error) {
	data, err := os.ReadFile(h.Path("env.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab %s is not ready (podpath-lab status --name %s; podpath-lab up --name %s)", h.Lab, h.Lab, h.Lab)
	}
	if err != nil {
		return nil, err
	}
	var env []Var
	if err := json.Unmarshal(data, &env); err != nil {
		return nil, fmt.Errorf("%s: %w", h.Path("env.json"), err)
	}
	return env, nil
}

// Environ is the process's environment with the lab's variables over it.
func (h Home) Environ() ([]string, error) {
	vars, err := h.Env()
	if err != nil {
		return nil, err
	}
	// A name stands once: of two, a shell takes the last and a Go program the first.
	environ := slices.DeleteFunc(os.Environ(), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.ContainsFunc(vars, func(v Var) bool { return v.Name == name })
	})
	for _, v := range vars {
		if v.Name == PathVar {
			v.Value += ":" + os.Getenv(PathVar) + ":/usr/sbin:/sbin"
		}
		environ = append(environ, v.Name+"="+v.Value)
	}
	return environ, nil
}
