package kubelet

import "context"

// apiServer is the node API while it runs; nil: there is none.
type apiServer struct{}

func (k *Kubelet) startAPI(context.Context) (*apiServer, error) { return &apiServer{}, nil }

func (a *apiServer) port() int   { return 0 }
func (a *apiServer) stop() error { return nil }
