package azure

import (
	"maps"
	"slices"
	"strings"
)

// Key is an ARM id as the World's maps are keyed by it.
func Key(id string) string {
	id = strings.ToLower(strings.TrimRight(strings.TrimSpace(id), "/"))
	if id != "" && id[0] != '/' && strings.HasPrefix(id, "subscriptions/") {
		id = "/" + id // some answers leave out the first slash
	}
	return id
}

// ID is an ARM id taken apart. Its parts keep the case that they were given in.
type ID struct {
	Subscription string
	Group        string
	Type         string // Microsoft.Network/virtualNetworks/subnets
	Names        []string
}

// ParseID takes an ARM id apart. What is not one gives an ID with an empty Type.
func ParseID(id string) ID {
	var out ID
	parts := strings.Split(strings.Trim(id, "/"), "/")
	for i := 0; i+1 < len(parts); {
		switch strings.ToLower(parts[i]) {
		case "subscriptions":
			out.Subscription = parts[i+1]
			i += 2
		case "resourcegroups":
			out.Group = parts[i+1]
			i += 2
		case "providers":
			// The last provider wins: extension resources follow the resource they extend.
			out.Type, out.Names = parts[i+1], nil
			for i += 2; i+1 < len(parts) && !strings.EqualFold(parts[i], "providers"); i += 2 {
				out.Type += "/" + parts[i]
				out.Names = append(out.Names, parts[i+1])
			}
		default:
			return ID{}
		}
	}
	return out
}

// Name is the last name of an id, in the case of the id.
func Name(id string) string {
	return id[strings.LastIndexByte(strings.TrimRight(id, "/"), '/')+1:]
}

// parent is the id without its last type and name.
func parent(id string) string {
	for range 2 {
		i := strings.LastIndexByte(id, '/')
		if i < 0 {
			return ""
		}
		id = id[:i]
	}
	return id
}

// group is the id of the resource group that holds a resource.
func (id ID) group() string {
	return "/subscriptions/" + id.Subscription + "/resourceGroups/" + id.Group
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
