package vantage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// execCall is one command in a container.
type execCall struct {
	namespace, pod, container string
	command                   []string
	stdin                     []byte
	stdout, stderr            io.Writer
	pulse                     bool // keep standard input open, so that the command sees when nobody listens any more
}

// execFunc runs a command; a test has its own.
type execFunc func(context.Context, execCall) error

// remoteExec goes through the API server: WebSocket first, SPDY where a proxy or an old server needs it.
func (s *session) remoteExec(ctx context.Context, c execCall) error {
	req := s.Kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.namespace).Name(c.pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: c.container, Command: c.command, Stdin: c.stdin != nil, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	spdy, err := remotecommand.NewSPDYExecutor(s.Config, "POST", req.URL())
	if err != nil {
		return err
	}
	ws, err := remotecommand.NewWebSocketExecutor(s.Config, "GET", req.URL().String())
	if err != nil {
		return err
	}
	both, err := remotecommand.NewFallbackExecutor(ws, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return err
	}
	opts := remotecommand.StreamOptions{Stdout: c.stdout, Stderr: c.stderr}
	switch {
	case c.pulse:
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		opts.Stdin = pulsing(ctx, c.stdin)
	case c.stdin != nil:
		opts.Stdin = bytes.NewReader(c.stdin)
	}
	return abandonable(ctx, func() error { return both.StreamWithContext(ctx, opts) })
}

// pulsing is an input that goes on after its first bytes: a line now and then for
// as long as somebody listens. It also keeps a proxy before the API server from
// taking the stream for an idle one.
func pulsing(ctx context.Context, begin []byte) io.Reader {
	r, w := io.Pipe()
	go func() {
		defer w.Close()
		tick := time.NewTicker(probe.PulseEvery)
		defer tick.Stop()
		for {
			if _, err := w.Write(append(begin, '\n')); err != nil {
				return
			}
			begin = nil
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	context.AfterFunc(ctx, func() { _ = w.Close() }) // also where nobody reads
	return r
}

// abandonable ends with its context. client-go opens the stream without one: an
// API server, or a proxy before it, that takes the request and says nothing would
// hold podpath for ever. What it left behind ends with the connection.
func abandonable(ctx context.Context, stream func() error) error {
	done := make(chan error, 1)
	go func() { done <- stream() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // it noticed too, and has closed what it had
		return err
	case <-time.After(200 * time.Millisecond):
		return ctx.Err()
	}
}

// Bounds of what a container may answer, and the pace at which one that starts is tried.
const (
	maxStdout = 16 << 20
	maxStderr = 8 << 10
	runLimit  = 30 * time.Second // of one verb, once its container is up
	firstTry  = 400 * time.Millisecond
	nextTry   = 150 * time.Millisecond
)

// container is one that serves.
type container struct {
	namespace, pod, name string
	starting             *starting // nil: it is known to run
	added                bool      // to a pod that keeps it, by this run
}

// runPlan runs the plan in a container as soon as it is up, and calls begun when it has.
func (s *session) runPlan(ctx context.Context, c container, plan probe.Plan, begun func()) ([]model.Observation, error) {
	in, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	out, err := s.verb(ctx, c, in, begun, func() []string { return []string{"run"} })
	if err != nil {
		return nil, err
	}
	var obs []model.Observation
	if err := json.Unmarshal(out, &obs); err != nil {
		return nil, fmt.Errorf("the probe in %s/%s answered no observations: %w; is %s the probe image of this podpath?", c.namespace, c.pod, err, s.req.Image)
	}
	return obs, nil
}

// verb runs one verb of the probe binary. A container that has just been created
// is tried until it answers: the kubelet executes in it up to a second before its
// status says that it runs. Its status still ends the wait when it cannot start.
func (s *session) verb(ctx context.Context, c container, stdin []byte, begun func(), args func() []string) ([]byte, error) {
	pace, refusals := time.Duration(0), 0
	if c.starting != nil {
		pace = firstTry - time.Since(c.starting.since)
	}
	var last error
	for {
		if err := c.starting.pause(ctx, pace); err != nil {
			return nil, withLastTry(err, last)
		}
		ran := c.starting.runs()
		stdout, stderr := &limited{max: maxStdout}, &limited{max: maxStderr, first: begun}
		limit, cancel := context.WithTimeout(ctx, runLimit)
		err := s.exec(limit, execCall{c.namespace, c.pod, c.name, append([]string{probeBinary}, args()...), stdin, stdout, stderr, false})
		cancel()
		if err == nil {
			return stdout.Bytes(), nil
		}
		if ran {
			refusals++ // it runs, and still nobody can execute in it
		}
		if c.starting == nil || ctx.Err() != nil || refusals > 2 || !startingError(err, stdout, stderr) {
			return nil, execError(err, stderr.String())
		}
		pace, last = nextTry, err
	}
}

// withLastTry adds to a container that is not known to have started why it could
// not be entered: where its status cannot be watched, a proxy before the API
// server that lets no stream through looks the same as a slow start.
func withLastTry(err, last error) error {
	var late *startError
	if last == nil || !errors.As(err, &late) || late.Message != "" || strings.Contains(last.Error(), "container not found") {
		return err
	}
	return &startError{Reason: late.Reason, Message: "the last try to execute in it: " + oneLine(last.Error())}
}

// startingError says whether an exec failed because its container is not there yet.
func startingError(err error, stdout, stderr *limited) bool {
	var exit utilexec.CodeExitError
	return !errors.As(err, &exit) && !denied(err) && stdout.Len() == 0 && stderr.Len() == 0
}

func execError(err error, stderr string) error {
	var exit utilexec.CodeExitError
	if errors.As(err, &exit) && stderr != "" {
		return fmt.Errorf("%s (exit code %d)", oneLine(stderr), exit.Code)
	}
	return err
}

// limited keeps the first max bytes and takes the rest in silence. It embeds no
// buffer: io.Copy would use that one's ReadFrom, and no limit would hold.
type limited struct {
	mu    sync.Mutex // a cancelled exec may still write
	buf   bytes.Buffer
	max   int
	first func() // called at the first byte
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first != nil && len(p) > 0 {
		l.first()
		l.first = nil
	}
	if room := l.max - l.buf.Len(); room > 0 {
		l.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// Bytes is a copy of what was kept.
func (l *limited) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.buf.Bytes())
}

func (l *limited) Len() int       { return len(l.Bytes()) }
func (l *limited) String() string { return string(l.Bytes()) }
