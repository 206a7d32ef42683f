package probecmd

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/podpath/podpath/internal/collect/node"
)

// nodeFacts writes what the kernel of this network namespace says.
func nodeFacts(args []string, out io.Writer) error {
	root := "/"
	switch len(args) {
	case 0:
	case 1:
		root = args[0]
	default:
		return fmt.Errorf("node takes one folder at most, not %q", args)
	}
	return json.NewEncoder(out).Encode(node.Read(root))
}
