package parity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// The parts of podpath's answer that are compared, and those that are told when
// it is wrong.
type (
	prediction struct {
		Verdict string `json:"verdict"`
		Reason  string `json:"reason"`
		Error   string `json:"error"`
		Paths   []way  `json:"paths"`
	}
	way struct {
		Verdict string `json:"verdict"`
		Steps   []step `json:"steps"`
		Return  []step `json:"return"`
	}
	step struct {
		Hop     string   `json:"hop"`
		At      string   `json:"at"`
		Verdict string   `json:"verdict"`
		Decided string   `json:"decided"`
		Reason  string   `json:"reason"`
		Trail   []string `json:"trail"`
		Out     struct {
			To  string `json:"to"`
			Dst string `json:"dst"`
		} `json:"out"`
	}
)

// deciding is the step that a way does not get past, or that leaves it unknown.
func (w *way) deciding() *step {
	for _, steps := range [][]step{w.Steps, w.Return} {
		for i := range steps {
			if steps[i].Verdict == w.Verdict && w.Verdict != "pass" {
				return &steps[i]
			}
		}
	}
	return nil
}

// predict asks podpath about all flows at once. The nodes' packet filters are
// left unread: in them stand the rules of the lab's own policy engine, and
// podpath is to find out by itself what policies do.
func (s *stage) predict(ctx context.Context, podpath string, list []flow) ([]prediction, error) {
	var asked []map[string]string
	for _, f := range list {
		q := map[string]string{"from": f.from.name, "to": f.to.String(), "protocol": f.protocol}
		if f.url != "" {
			q["to"], q["address"] = f.url, f.to.Addr().String()
		}
		asked = append(asked, q)
	}
	in, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, podpath, "why", "-f", "-", "-o", "json", "--node-reader", "basic")
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = bytes.NewReader(in), &out, &complaint, s.lab.Environ()
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() < 3 {
		err = nil // not all connections pass
	}
	if err != nil {
		return nil, fmt.Errorf("podpath why -f: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	var answer struct {
		Flows []prediction `json:"flows"`
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return nil, fmt.Errorf("podpath's answer: %w", err)
	}
	if len(answer.Flows) != len(list) {
		return nil, fmt.Errorf("podpath answered %d of %d connections", len(answer.Flows), len(list))
	}
	for i, p := range answer.Flows {
		if p.Error != "" || len(p.Paths) == 0 {
			return nil, fmt.Errorf("podpath predicts nothing for %s: %s", &list[i], p.Error)
		}
	}
	return answer.Flows, nil
}
