package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/util/dryrun"
)

// Classes of what services hold.
const (
	classIP   = "clusterip"
	classPort = "nodeport"
)

var (
	errFull  = errors.New("range is full")
	errTaken = errors.New("provided IP is already allocated")
)

// allocator gives services their addresses and ports.
type allocator struct {
	claims *claims
	cidrs  []netip.Prefix
	ports  PortRange
}

// holding is a set of values by class.
type holding map[string][]string

func (h holding) has(class, value string) bool { return slices.Contains(h[class], value) }

// held is what a service has.
func held(s *corev1.Service) holding {
	h := holding{}
	if hasClusterIP(s) {
		for _, ip := range s.Spec.ClusterIPs {
			if addr, err := netip.ParseAddr(ip); err == nil {
				h[classIP] = append(h[classIP], addr.String())
			}
		}
	}
	if portsOfNodes(s) {
		for _, p := range s.Spec.Ports {
			if port := strconv.Itoa(int(p.NodePort)); p.NodePort != 0 && !h.has(classPort, port) {
				h[classPort] = append(h[classPort], port)
			}
		}
	}
	if s.Spec.HealthCheckNodePort != 0 {
		h[classPort] = append(h[classPort], strconv.Itoa(int(s.Spec.HealthCheckNodePort)))
	}
	return h
}

// grant is one request's allocation: what it took is given back if the service
// is not stored after all.
type grant struct {
	*allocator
	service *corev1.Service
	before  holding
	taken   holding
	dryRun  bool
}

func (a *allocator) beginCreate(ctx context.Context, obj runtime.Object, options *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
	return a.begin(ctx, obj.(*corev1.Service), nil, dryrun.IsDryRun(options.DryRun))
}

func (a *allocator) beginUpdate(ctx context.Context, obj, old runtime.Object, options *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
	return a.begin(ctx, obj.(*corev1.Service), old.(*corev1.Service), dryrun.IsDryRun(options.DryRun))
}

func (a *allocator) begin(ctx context.Context, s, old *corev1.Service, dryRun bool) (genericregistry.FinishFunc, error) {
	g := &grant{allocator: a, service: s, before: holding{}, taken: holding{}, dryRun: dryRun}
	if old != nil {
		g.before = held(old)
	}
	// The store asks for allocations before it prepares and validates.
	normalize(s, old)
	err := a.defaultFamilies(s, old)
	if err == nil {
		err = g.addresses(ctx)
	}
	if err == nil {
		err = g.nodePorts(ctx)
	}
	if err != nil {
		g.undo(ctx)
		return nil, err
	}
	return func(ctx context.Context, success bool) {
		if !success {
			g.undo(ctx)
			return
		}
		g.dropUnused(ctx)
	}, nil
}

func (g *grant) undo(ctx context.Context) { g.releaseAll(ctx, g.taken, nil) }

// dropUnused gives back what the stored service no longer has.
func (g *grant) dropUnused(ctx context.Context) { g.releaseAll(ctx, g.before, held(g.service)) }

func (g *grant) releaseAll(ctx context.Context, values, but holding) {
	if g.dryRun {
		return
	}
	g.allocator.releaseAll(ctx, g.service, values, but)
}

// releaseAll outlives the request: what is not released now waits for someone
// who wants it (claimGrace).
func (a *allocator) releaseAll(ctx context.Context, s *corev1.Service, values, but holding) {
	ctx = context.WithoutCancel(ctx)
	for class, list := range values {
		for _, value := range list {
			if but.has(class, value) {
				continue
			}
			if err := a.claims.release(ctx, class, value, holderOf(s)); err != nil {
				slog.Warn("a value of a service is not released", "service", s.Namespace+"/"+s.Name, "error", err)
			}
		}
	}
}

func (a *allocator) afterDelete(obj runtime.Object, options *metav1.DeleteOptions) {
	if options != nil && dryrun.IsDryRun(options.DryRun) {
		return
	}
	s := obj.(*corev1.Service)
	a.releaseAll(context.Background(), s, held(s), nil)
}

// claim takes a value that this service does not have yet.
func (g *grant) claim(ctx context.Context, class, value string) (bool, error) {
	if g.before.has(class, value) || g.taken.has(class, value) {
		return true, nil
	}
	ok, err := g.claims.take(ctx, class, value, holderOf(g.service), g.dryRun)
	if ok {
		g.taken[class] = append(g.taken[class], value)
	}
	return ok, err
}

// addresses claims the addresses asked for and finds those left open, one for
// each family.
func (g *grant) addresses(ctx context.Context) error {
	spec := &g.service.Spec
	if !hasClusterIP(g.service) || headless(g.service) {
		return nil
	}
	for i, family := range spec.IPFamilies {
		cidr, ok := g.cidr(family)
		if !ok {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: no range of %s addresses", family))
		}
		if i < len(spec.ClusterIPs) && spec.ClusterIPs[i] != "" {
			if err := g.address(ctx, spec.ClusterIPs[i], cidr); err != nil {
				msg := fmt.Sprintf("failed to allocate IP %v: %v", spec.ClusterIPs[i], err)
				return invalid(g.service, field.ErrorList{field.Invalid(field.NewPath("spec", "clusterIPs"), spec.ClusterIPs, msg)})
			}
			continue
		}
		found, err := g.find(ctx, classIP, addressPool(cidr))
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: %w", err))
		}
		spec.ClusterIPs = append(spec.ClusterIPs[:i], found)
	}
	if len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	return nil
}

func (g *grant) address(ctx context.Context, ip string, cidr netip.Prefix) error {
	addr, err := netip.ParseAddr(ip)
	if err != nil || !addressPool(cidr).contains(addr) {
		if addr.IsValid() && g.before.has(classIP, addr.String()) {
			return nil // the range was changed; the service keeps what it has
		}
		return fmt.Errorf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", ip, cidr)
	}
	ok, err := g.claim(ctx, classIP, addr.String())
	if err == nil && !ok {
		err = errTaken
	}
	return err
}

// find claims a free value of the pool: by chance, which nearly always hits, or
// by looking at what is taken. Values of the pool's upper part come first, so
// that the lower part stays free for those who choose.
func (g *grant) find(ctx context.Context, class string, p pool) (string, error) {
	const chances = 8
	for range chances {
		if p.size == p.reserved {
			break
		}
		value := p.value(p.reserved + rand.Uint64N(p.size-p.reserved))
		if g.before.has(class, value) || g.taken.has(class, value) {
			continue
		}
		if ok, err := g.claim(ctx, class, value); err != nil || ok {
			return value, err
		}
	}
	taken, err := g.claims.all(ctx, class)
	if err != nil {
		return "", err
	}
	// A pool of more values than there can be claims need not be walked to the
	// end: one more step than claims finds a free one.
	for i := p.reserved; i < p.size+p.reserved; i++ {
		value := p.value(i % p.size)
		if taken[value] || g.before.has(class, value) || g.taken.has(class, value) {
			continue
		}
		if ok, err := g.claim(ctx, class, value); err != nil || ok {
			return value, err
		}
	}
	return "", errFull
}
