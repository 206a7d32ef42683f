package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	yaml "go.yaml.in/yaml/v3"

	"github.com/podpath/podpath/internal/examine"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/report"
)

// The limits of a file of connections.
const (
	maxFlowsFile = 16 << 20 // bytes
	maxFlows     = 100_000
)

// flowEntry is one connection of a file, in the words of the command line.
type flowEntry struct {
	From     string `yaml:"from"`
	To       string `yaml:"to"`
	Protocol string `yaml:"protocol"`
	Host     string `yaml:"host"`
	Address  string `yaml:"address"`
}

// readFlows reads a file of connections; "-" is standard input.
func readFlows(name string, in io.Reader) ([]model.Question, error) {
	data, err := readFile(name, in, maxFlowsFile)
	if err != nil {
		return nil, err
	}
	list, err := parseFlows(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

// parseFlows reads a list of connections, in YAML or JSON. The error names the
// entry, counted from one.
func parseFlows(data []byte) (out []model.Question, err error) {
	// The YAML library panics on some malformed input.
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("not readable as YAML: %v", p)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var list []flowEntry
	if err := dec.Decode(&list); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document; write one list of {from, to, protocol}")
	}
	switch {
	case len(list) == 0:
		return nil, errors.New("no connections in it; write a list of {from, to, protocol}")
	case len(list) > maxFlows:
		return nil, fmt.Errorf("more than %d connections", maxFlows)
	}
	for i, e := range list {
		f := question{protocol: e.Protocol, host: e.Host, address: e.Address}
		q, err := f.parse([]string{e.From, e.To})
		if err != nil {
			return nil, fmt.Errorf("connection %d: %s", i+1, strings.ReplaceAll(err.Error(), "--", ""))
		}
		out = append(out, q)
	}
	return out, nil
}

// askFlows predicts the connections of a file from one reading of the cluster.
func askFlows(ctx context.Context, file string, a *asking, s Streams) (*report.Flows, error) {
	list, err := readFlows(file, s.In)
	if err != nil {
		return nil, err
	}
	if err := a.prepare(); err != nil {
		return nil, err
	}
	p := newProgress(s.Err, a.quiet)
	defer p.Stop()
	a.opts.Progress = p.Say
	b, err := examine.Predict(ctx, list, a.opts)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("the cluster was not read within --timeout %s: give it longer, or ask for less (--no-azure, --no-probe)", a.opts.Timeout)
	}
	if err != nil {
		return nil, err
	}
	flows := make([]report.Flow, len(b.Answers))
	for i, answer := range b.Answers {
		flows[i] = report.NewFlow(answer.Question, answer.Paths, answer.Err)
	}
	return report.NewFlows(flows, b.World.Gaps), nil
}

// whyFlows is `why -f`.
func whyFlows(ctx context.Context, file, output string, a *asking, s Streams) error {
	if err := report.WriteFlows(io.Discard, output, &report.Flows{}); err != nil {
		return err
	}
	r, err := askFlows(ctx, file, a, s)
	if err != nil {
		return err
	}
	if err := report.WriteFlows(s.Out, output, r); err != nil {
		return err
	}
	if r.ExitCode != 0 {
		return &Exit{Code: r.ExitCode}
	}
	return nil
}
