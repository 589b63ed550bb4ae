package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"
)

// pullGroup makes concurrent pulls of the same thing one pull.
type pullGroup struct {
	mu    sync.Mutex
	calls map[string]*pullCall
}

type pullCall struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiters int
	img     Image
	err     error

	mu     sync.Mutex
	listen map[int]func(Event)
	next   int
}

// pullKey tells pulls apart by everything that changes their outcome; the
// credentials count too, as who may not pull must not learn from who may.
func pullKey(ref Reference, opts PullOptions) string {
	opts.Progress = nil
	data, err := json.Marshal(struct {
		Ref     string
		Auth    Auth
		Secrets [][]byte
		Flags   [2]bool
		OS      string
	}{ref.String(), opts.Auth, opts.Secrets, [2]bool{opts.PlainHTTP, opts.InsecureSkipVerify}, platformName(opts.Platform)})
	if err != nil {
		return ref.String() // strings and bytes always encode
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// do runs f once for all callers of key, until it ends or all have left.
func (g *pullGroup) do(ctx context.Context, key string, progress func(Event), f func(context.Context, func(Event)) (Image, error)) (Image, error) {
	g.mu.Lock()
	c := g.calls[key]
	if c == nil {
		c = g.start(ctx, key, f)
	}
	c.waiters++
	id := c.subscribe(progress)
	g.mu.Unlock()
	defer c.unsubscribe(id)
	select {
	case <-c.done:
		return c.img, c.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	c.waiters--
	last := c.waiters == 0
	if last && g.calls[key] == c {
		delete(g.calls, key)
	}
	g.mu.Unlock()
	if last {
		c.cancel()
		<-c.done // nothing of it stays behind
	}
	return Image{}, context.Cause(ctx)
}

// start is called with g.mu held.
func (g *pullGroup) start(ctx context.Context, key string, f func(context.Context, func(Event)) (Image, error)) *pullCall {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &pullCall{done: make(chan struct{}), cancel: cancel, listen: map[int]func(Event){}}
	if g.calls == nil {
		g.calls = map[string]*pullCall{}
	}
	g.calls[key] = c
	go func() {
		defer cancel()
		c.img, c.err = f(ctx, c.tell)
		g.mu.Lock()
		if g.calls[key] == c {
			delete(g.calls, key)
		}
		g.mu.Unlock()
		close(c.done)
	}()
	return c
}

func (c *pullCall) subscribe(f func(Event)) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	if f != nil {
		c.listen[c.next] = f
	}
	return c.next
}

func (c *pullCall) unsubscribe(id int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.listen, id)
}

func (c *pullCall) tell(ev Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.listen {
		f(ev)
	}
}
