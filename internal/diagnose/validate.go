package diagnose

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var idForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// Validate says what is wrong with a catalogue: ids that are malformed or not
// unique, rules without a page, without a hop or a function, Under that names
// no rule or goes in a circle.
func Validate(rules []Rule) error {
	var errs []error
	byID := map[string]*Rule{}
	for i := range rules {
		r := &rules[i]
		if byID[r.ID] != nil {
			errs = append(errs, fmt.Errorf("rule %s: the id is used twice", r.ID))
		}
		byID[r.ID] = r
		errs = append(errs, validateOne(r)...)
	}
	for i := range rules {
		r := &rules[i]
		for _, under := range r.Under {
			if byID[under] == nil {
				errs = append(errs, fmt.Errorf("rule %s: Under names %q, which is no rule", r.ID, under))
			}
		}
		if circle(byID, r.ID, r.ID, map[string]bool{}) {
			errs = append(errs, fmt.Errorf("rule %s: Under goes in a circle; two rules cannot each be a consequence of the other", r.ID))
		}
	}
	return errors.Join(errs...)
}

func validateOne(r *Rule) []error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("rule %q: "+format, append([]any{r.ID}, args...)...))
	}
	if !idForm.MatchString(r.ID) {
		bad("the id must be lower-case words joined by dashes")
	}
	if r.Title() == "" || len(r.Title()) > 90 || strings.HasSuffix(r.Title(), ".") {
		bad("Doc must begin with a title of at most 90 characters without a full stop")
	}
	if paragraphs := strings.Count(strings.TrimSpace(r.Doc), "\n\n"); paragraphs < 3 {
		bad("Doc must hold, after the title: what it is and how it shows; look-alikes; how to mend it")
	}
	if r.Run == nil {
		bad("Run is missing")
	}
	if r.Hop == "" {
		bad("Hop is missing")
	}
	for _, id := range r.Covers {
		if !idForm.MatchString(id) {
			bad("Covers holds %q, which is no id", id)
		}
	}
	return errs
}

func circle(byID map[string]*Rule, from, target string, seen map[string]bool) bool {
	r := byID[from]
	if r == nil || seen[from] {
		return false
	}
	seen[from] = true
	for _, under := range r.Under {
		if under == target || circle(byID, under, target, seen) {
			return true
		}
	}
	return false
}
