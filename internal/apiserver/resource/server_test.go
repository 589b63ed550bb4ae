package resource

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"go.skiff.dev/skiff/internal/apiserver/openapi"
)

// testServer is the kinds on k8s.io/apiserver over a real etcd, without the
// rest of skiff's server.
type testServer struct {
	kubernetes.Interface
	config *restclient.Config
	url    string
}

func startEtcd(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(dir, "etcd")
	client := url.URL{Scheme: "unix", Host: "", Path: filepath.Join(dir, "c")}
	peer := url.URL{Scheme: "http", Host: "localhost:0"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{{Scheme: "unix", Host: "localhost:0"}}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.LogLevel = "fatal"
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.UnsafeNoFsync = true
	cfg.WatchProgressNotifyInterval = 5 * time.Second
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatalf("starting etcd: %v", err)
	}
	t.Cleanup(etcd.Close)
	<-etcd.Server.ReadyNotify()
	return client.String()
}

func startServer(t testing.TB, change ...func(*Deps)) *testServer {
	t.Helper()
	return startServerOn(t, startEtcd(t), change...)
}

func startServerOn(t testing.TB, etcd string, change ...func(*Deps)) *testServer {
	t.Helper()
	scheme := NewScheme()
	codecs := NewCodecs(scheme)

	backend := storagebackend.NewDefaultConfig("/registry", nil)
	backend.Transport.ServerList = []string{etcd}
	options := genericoptions.NewEtcdOptions(backend)
	options.SkipHealthEndpoints = true
	options.WatchCacheSizes = []string{"events#0", "serviceclaims.coordination.k8s.io#0"}
	factory := serverstorage.NewDefaultStorageFactory(*backend, runtime.ContentTypeProtobuf,
		StorageSerializer(codecs), serverstorage.NewDefaultResourceEncodingConfig(scheme),
		serverstorage.NewResourceConfig(), nil)

	cfg := genericapiserver.NewConfig(codecs)
	cfg.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	cfg.ExternalAddress = "127.0.0.1:6443"
	cfg.LegacyAPIGroupPrefixes.Insert("/api")
	cfg.LoopbackClientConfig = &restclient.Config{}
	cfg.Authentication.Authenticator = authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "admin", Groups: []string{"system:masters"}}}, true, nil
	})
	cfg.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	namer := openapinamer.NewDefinitionNamer(scheme)
	cfg.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	cfg.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	if err := options.ApplyWithStorageFactoryTo(factory, cfg); err != nil {
		t.Fatalf("preparing the storage: %v", err)
	}
	server, err := cfg.Complete(nil).New("test", genericapiserver.NewEmptyDelegate())
	if err != nil {
		t.Fatalf("making the server: %v", err)
	}
	deps := Deps{
		Scheme: scheme, Codecs: codecs, RESTOptionsGetter: cfg.RESTOptionsGetter,
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")},
	}
	for _, f := range change {
		f(&deps)
	}
	groups, err := Groups(deps)
	if err != nil {
		t.Fatalf("making the groups: %v", err)
	}
	for _, group := range groups {
		if group.PrioritizedVersions[0].Group == "" {
			err = server.InstallLegacyAPIGroup("/api", group)
		} else {
			err = server.InstallAPIGroups(group)
		}
		if err != nil {
			t.Fatalf("installing %v: %v", group.PrioritizedVersions, err)
		}
	}
	t.Cleanup(server.Destroy)
	server.PrepareRun() // serves the OpenAPI documents
	web := httptest.NewServer(server.Handler)
	t.Cleanup(web.Close)
	config := &restclient.Config{Host: web.URL, QPS: -1}
	return &testServer{Interface: kubernetes.NewForConfigOrDie(config), config: config, url: web.URL}
}

// request sends one request and returns the status and the body.
func (s *testServer) request(t testing.TB, method, path, accept, contentType, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, s.url+path, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}
