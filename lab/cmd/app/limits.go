package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// limited makes a process that runs out of something: files://N may open no more
// than N files, eat://N takes N MiB of memory a second and keeps them, exit://5s
// ends with an error after that time.
func limited(u *url.URL) (func(context.Context) error, error) {
	if u.Scheme == "exit" {
		after, err := time.ParseDuration(u.Host)
		if err != nil {
			return nil, fmt.Errorf("exit://DURATION: %w", err)
		}
		return func(ctx context.Context) error { return exitAfter(ctx, after) }, nil
	}
	n, err := strconv.ParseUint(u.Host, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%s://N: %q is no number from 1 to 65535", u.Scheme, u.Host)
	}
	if u.Scheme == "eat" {
		return func(ctx context.Context) error { return eat(ctx, int(n)) }, nil
	}
	// At once, before listeners of other arguments are asked by anybody.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { <-ctx.Done(); return nil }, nil
}

// eat takes memory that is really used: each page is written to.
func eat(ctx context.Context, perSecond int) error {
	var kept [][]byte
	defer func() { runtime.KeepAlive(kept) }() // else it would be taken back
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		more := make([]byte, perSecond<<20)
		for i := 0; i < len(more); i += 4096 {
			more[i] = 1
		}
		kept = append(kept, more)
	}
}

var errAsked = errors.New("it ends, as it was told to")

func exitAfter(ctx context.Context, after time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, after)
	defer cancel()
	<-ctx.Done()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errAsked
	}
	return nil
}
