package apiserver

import (
	"fmt"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	apimachineryversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	basecompatibility "k8s.io/component-base/compatibility"

	"go.skiff.dev/skiff/internal/apiserver/authn"
	"go.skiff.dev/skiff/internal/version"
)

const (
	// maxReads and maxWrites bound the requests from outside that are served
	// at once, as upstream's flags do. Administrators and skiff's own parts
	// are not bounded. Priority and fairness comes with its kinds.
	maxReads, maxWrites = 400, 200
	// drainTime is what watches have to end in when the server stops.
	drainTime = time.Second
)

// config assembles the configuration of the generic server.
func (s *Server) config(listener net.Listener, p *policy) *genericapiserver.Config {
	cfg := genericapiserver.NewConfig(s.codecs)
	cfg.SecureServing = &genericapiserver.SecureServingInfo{Listener: newIdleListener(listener.Addr())}
	// This hook takes a sample every second for a metric of the busiest one.
	cfg.DisabledPostStartHooks.Insert("max-in-flight-filter")
	cfg.Authentication = genericapiserver.AuthenticationInfo{
		APIAudiences:  authenticator.Audiences{p.url},
		Authenticator: authn.New(authn.Options{ClientCA: s.opts.Authority.Pool, Tokens: p.tokens}),
	}
	cfg.Authorization.Authorizer = p.rules
	cfg.RuleResolver = p.rules
	cfg.LoopbackClientConfig = s.ClientConfig(apiserverUser, mastersGroup)
	cfg.EffectiveVersion = versionInfo{basecompatibility.NewEffectiveVersionFromString(version.Kubernetes, "", "")}
	cfg.ExternalAddress = fmt.Sprintf("%s:%d", s.opts.NodeIP, s.port)
	cfg.LongRunningFunc = genericfilters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"),
		sets.NewString("attach", "exec", "proxy", "log", "portforward"),
	)
	cfg.MaxRequestsInFlight, cfg.MaxMutatingRequestsInFlight = maxReads, maxWrites
	cfg.EnableProfiling = false
	cfg.ShutdownWatchTerminationGracePeriod = drainTime
	cfg.OpenAPIConfig, cfg.OpenAPIV3Config = openAPIConfigs(s.scheme)
	cfg.SkipOpenAPIInstallation = true // see installSchemas
	return cfg
}

// issuerURL names the issuer of service-account tokens, which is their default
// audience too.
func issuerURL(domain string) string { return "https://kubernetes.default.svc." + domain }

// versionInfo makes /version name skiff's version; the library's own is filled
// in by upstream's release build only.
type versionInfo struct {
	basecompatibility.EffectiveVersion
}

// Info implements basecompatibility.EffectiveVersion.
func (v versionInfo) Info() *apimachineryversion.Info {
	info := v.EffectiveVersion.Info()
	info.GitVersion = version.Git
	info.GitTreeState = "clean"
	info.GitCommit = version.Get().Commit
	return info
}
