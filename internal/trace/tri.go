package trace

import "github.com/podpath/podpath/internal/model"

// tri is a three-valued answer: a rule matches, does not, or it cannot be told.
type tri uint8

const (
	maybe tri = iota // the zero value: nothing is known
	no
	yes
)

func triOf(b bool) tri {
	if b {
		return yes
	}
	return no
}

// or is yes when either is, and no only when both are.
func (a tri) or(b tri) tri {
	switch {
	case a == yes || b == yes:
		return yes
	case a == no && b == no:
		return no
	}
	return maybe
}

// and is no when either is, and yes only when both are.
func (a tri) and(b tri) tri {
	switch {
	case a == no || b == no:
		return no
	case a == yes && b == yes:
		return yes
	}
	return maybe
}

// passIf turns "is allowed" into a verdict.
func passIf(allowed bool) model.Verdict {
	if allowed {
		return model.Pass
	}
	return model.Drop
}
