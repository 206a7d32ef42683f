package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Supervisor keeps the lab's processes running. While the lab comes up, one
// that ends is a failure; afterwards it is started again, as systemd would.
type Supervisor struct {
	ctx    context.Context
	log    func(process string) string // path of a process's log
	failed chan error

	mu      sync.Mutex
	settled bool
	pids    map[string]int
}

// NewSupervisor makes one whose processes are not restarted once ctx has ended.
func NewSupervisor(ctx context.Context, log func(string) string) *Supervisor {
	return &Supervisor{ctx: ctx, log: log, failed: make(chan error, 16), pids: map[string]int{}}
}

// Failed tells of a process that ended while the lab was coming up.
func (s *Supervisor) Failed() <-chan error { return s.failed }

// Settle says that the lab is up: from now on what ends is started again.
func (s *Supervisor) Settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = true
}

func (s *Supervisor) processes() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.pids)
}

// Start starts a process in a space and watches over it.
func (s *Supervisor) Start(space *Space, name string, argv ...string) error {
	cmd, err := s.launch(space, name, argv)
	if err != nil {
		return err
	}
	go s.watch(space, name, argv, cmd)
	return nil
}

func (s *Supervisor) launch(space *Space, name string, argv []string) (*exec.Cmd, error) {
	log, err := os.OpenFile(s.log(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := space.do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pids[name] = cmd.Process.Pid
	return cmd, nil
}

func (s *Supervisor) watch(space *Space, name string, argv []string, cmd *exec.Cmd) {
	for {
		err := cmd.Wait()
		s.mu.Lock()
		settled := s.settled
		delete(s.pids, name)
		s.mu.Unlock()
		if s.ctx.Err() != nil {
			return
		}
		if !settled {
			s.failed <- fmt.Errorf("%s ended (%w); %s ends with:\n%s", name, orExit(err), s.log(name), Tail(s.log(name), 12))
			return
		}
		for {
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(time.Second): // no faster: a process that cannot start must not eat the machine
			}
			if cmd, err = s.launch(space, name, argv); err == nil {
				break
			}
		}
	}
}

func orExit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Tail is the end of a log, indented.
func Tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "    " + err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return "    " + strings.Join(all, "\n    ")
}
