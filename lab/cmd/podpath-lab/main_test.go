package main

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestEveryVerbSaysItsFlagsAlike: GNU style, with a usage text each.
func TestEveryVerbSaysItsFlagsAlike(t *testing.T) {
	var verbs []string
	for _, c := range root().Commands() {
		if c.Hidden {
			continue
		}
		verbs = append(verbs, c.Name())
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if len(f.Name) < 2 || f.Usage == "" {
				t.Errorf("%s --%s: a flag has a long name and says what it does", c.Name(), f.Name)
			}
		})
	}
	for _, verb := range []string{"up", "down", "status", "env", "exec", "parity", "inject", "heal", "bench"} {
		if !slices.Contains(verbs, verb) {
			t.Errorf("no verb %s", verb)
		}
		if help := helpOf(t, verb); verb != "exec" && !regexp.MustCompile(`(?m)^ +(-\w, |    )--\w+`).MatchString(help) {
			t.Errorf("%s --help shows no --flag:\n%s", verb, help)
		}
	}
}

func helpOf(t *testing.T, verb string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := root()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{verb, "--help"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Errorf("%s --help: %v", verb, err)
	}
	return out.String()
}

// TestScenarioVerbsRefuse what cannot be, before any lab is looked for.
func TestScenarioVerbsRefuse(t *testing.T) {
	for _, c := range []struct{ line, says string }{
		{"inject", "one scenario is wanted"},
		{"inject a b", "one scenario is wanted"},
		{"inject -symptom", "unknown shorthand flag"},
		{"heal x", "takes back all"},
		{"bench", "name scenarios"},
		{"bench -o yaml x", "-o yaml: table or json"},
		{"bench --tries 0 x", "1 or more"},
	} {
		cmd := root()
		cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return nil } // no root is needed to be refused
		cmd.SetArgs(strings.Fields(c.line))
		var exit exitError
		if err := cmd.ExecuteContext(t.Context()); !errors.As(err, &exit) || exit.code != 2 || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v (exit %d)", c.line, err, exit.code)
		}
	}
}
