package apiserver

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// AdminKubeconfig returns a kubeconfig with a fresh client certificate for the
// administrator (user "skiff-admin", group "system:masters"). Its one cluster,
// user and context have the given name. server is a URL; empty means
// https://127.0.0.1:PORT.
func (s *Server) AdminKubeconfig(name, server string) ([]byte, error) {
	if server == "" {
		server = fmt.Sprintf("https://127.0.0.1:%d", s.port)
	}
	pair, err := s.opts.Authority.ClientCert(adminUser, mastersGroup)
	if err != nil {
		return nil, fmt.Errorf("issuing the administrator's certificate: %w", err)
	}
	cfg := api.NewConfig()
	cfg.Clusters[name] = &api.Cluster{Server: server, CertificateAuthorityData: s.opts.Authority.CAPEM()}
	cfg.AuthInfos[name] = &api.AuthInfo{ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}
	cfg.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	cfg.CurrentContext = name
	data, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("encoding the kubeconfig: %w", err)
	}
	return data, nil
}
