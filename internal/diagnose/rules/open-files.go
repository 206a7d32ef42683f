package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
)

var openFiles = diagnose.Rule{
	ID: "open-files",
	Doc: `The server has no file descriptor left

Each connection is an open file of the process, and RLIMIT_NOFILE bounds them. A server at its limit cannot accept ("too many open files", EMFILE in its
log): new connections still stand, since the kernel completes them, and then nobody reads from them; once the accept queue is full
too, they time out. Connections that stood before go on. Many sockets in CLOSE-WAIT are a leak: the far side has closed them, the
application has not.

Look-alikes: a full accept queue alone is a server that is too slow, with files to spare. Local ports that run out are the error
"cannot assign requested address" in the client. A slow answer comes in the end.

Start it anew, then mend the leak or use connections again; raise the limit where it is really needed.
`,
	Hop:    model.HopPod,
	Covers: []string{"app-fd-exhaustion"},
	Needs:  []string{"probe", "pod"},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || !(seen.Result == model.TimedOut || seen.Result == model.Closed || seen.Result == model.Reset || p.Slow() != nil) || seen.Failed == "dns" {
			return
		}
		for _, pod := range served(p) {
			in := p.Case.World.Inside[pod.Ref()]
			for i := 0; in != nil && i < len(in.Processes); i++ {
				if u, ok := resource.FilesOf(pod.Ref(), in, &in.Processes[i]); ok && u.State == resource.Out {
					reportFiles(p, pod, in, &u)
				}
			}
		}
	},
}

func reportFiles(p *diagnose.Pass, pod *model.Pod, in *model.Inside, u *resource.Use) {
	f := diagnose.Finding{
		Subject:  ownerOf(pod),
		Title:    fmt.Sprintf("Pod %s/%s has no file descriptor left for new connections", pod.Namespace, pod.Name),
		Summary:  "The kernel completes new connections, and the server cannot accept them: each takes an open file, and it has as many open as it may.",
		Evidence: []diagnose.Evidence{fromPod(fmt.Sprintf("about %.0f of at most %.0f files are open (Max open files)", u.Used, u.Limit), pod.Ref())},
		Fix:      u.Remedy,
	}
	for _, says := range u.Says {
		f.Evidence = append(f.Evidence, fromPod(says, pod.Ref()))
	}
	for _, q := range in.Listening {
		if q.Waiting > 0 {
			f.Evidence = append(f.Evidence, fromPod(fmt.Sprintf("%d connections wait at port %d for the server to accept them", q.Waiting, q.Port), pod.Ref()))
		}
	}
	if len(u.Says) > 1 { // its files could not be counted
		f.Confidence = diagnose.Likely
	}
	f.Fix[0].Verify = again(p)
	p.Report(f)
}
