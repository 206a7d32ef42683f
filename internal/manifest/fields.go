package manifest

import (
	"fmt"
	"maps"
	"slices"
)

// shape is which fields an object may have, and what each holds. A field whose
// shape is nil may hold anything.
type shape map[string]shape

var (
	selectorShape = shape{"matchLabels": nil, "matchExpressions": {"key": nil, "operator": nil, "values": nil}}
	peerShape     = shape{"podSelector": selectorShape, "namespaceSelector": selectorShape, "ipBlock": {"cidr": nil, "except": nil}}
	portShape     = shape{"protocol": nil, "port": nil, "endPort": nil}
	ruleShape     = shape{"from": peerShape, "to": peerShape, "ports": portShape}
	policyShape   = shape{"podSelector": selectorShape, "policyTypes": nil, "ingress": ruleShape, "egress": ruleShape}
)

// unknownField is the first field that an object must not have. A policy with a
// misspelt field means something else than its author thinks; kubectl and the
// API server refuse it too.
func unknownField(path string, v any, s shape) error {
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			if err := unknownField(fmt.Sprintf("%s[%d]", path, i), item, s); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			inner, known := s[key]
			if !known {
				return fmt.Errorf("field %s.%s is not known; there are %v", path, key, slices.Sorted(maps.Keys(s)))
			}
			if inner != nil {
				if err := unknownField(path+"."+key, v[key], inner); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
