package diagnose

import (
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Quote makes one word of a POSIX shell out of s. Names come from outside; a
// command that a user pastes must not run what a name says.
func Quote(s string) string {
	if s == "" {
		return "''"
	}
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@,+%", r)
	}
	for _, r := range s {
		if !safe(r) {
			return "'" + strings.ReplaceAll(clean(s), "'", `'\''`) + "'"
		}
	}
	return s
}

// clean drops control characters, which no name needs and a terminal obeys.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}

func words(head string, args []string) string {
	var b strings.Builder
	b.WriteString(head)
	for _, a := range args {
		b.WriteByte(' ')
		b.WriteString(Quote(a))
	}
	return b.String()
}

// Kubectl is a kubectl command line.
func Kubectl(args ...string) string { return words("kubectl", args) }

// KubectlFor is a kubectl command on one object, with its namespace:
// KubectlFor(ref, "edit") is "kubectl -n NS edit KIND NAME".
func KubectlFor(ref model.Ref, verb string, args ...string) string {
	parts := ref.Parts()
	if len(parts) < 2 {
		return Kubectl(append([]string{verb, ref.Kind(), ref.Name()}, args...)...)
	}
	return Kubectl(append([]string{"-n", parts[0], verb, ref.Kind(), parts[1]}, args...)...)
}

// OnNode is a command line that runs a shell command on a node, as its root.
func OnNode(node, command string) string {
	return Kubectl("debug", "node/"+node, "-it", "--profile=sysadmin", "--image=busybox", "--", "chroot", "/host", "sh", "-c", command)
}

// ArmID is an Azure resource id, taken apart.
type ArmID struct{ Subscription, Group, Name, Parent string }

// ParseArmID reads an id; what it lacks stays empty. Name is the last segment,
// Parent the one that holds it (the VNet of a subnet).
func ParseArmID(id string) ArmID {
	seg := strings.Split(strings.Trim(id, "/"), "/")
	var a ArmID
	for i := 0; i+1 < len(seg); i++ {
		switch strings.ToLower(seg[i]) {
		case "subscriptions":
			a.Subscription = seg[i+1]
		case "resourcegroups":
			a.Group = seg[i+1]
		}
	}
	if n := len(seg); n > 0 {
		a.Name = seg[n-1]
	}
	for i, s := range seg {
		if strings.EqualFold(s, "providers") && i+3 < len(seg) {
			a.Parent = seg[i+3]
		}
	}
	return a
}

// Az is an az command on the resource that id names, in its resource group and
// subscription: Az("network nsg rule create", nsg.ID, "--nsg-name", nsg.Name).
func Az(verb, id string, args ...string) string {
	a := ParseArmID(id)
	if a.Group != "" {
		args = append(args, "--resource-group", a.Group)
	}
	if a.Subscription != "" {
		args = append(args, "--subscription", a.Subscription)
	}
	return words("az "+verb, args)
}
