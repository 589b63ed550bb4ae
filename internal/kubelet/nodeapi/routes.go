package nodeapi

import "net/http"

// route is one path of the node API.
type route struct {
	pattern string
	serve   http.HandlerFunc
}

// table lists all paths, as upstream names them.
func (s *Server) table() []route {
	return []route{
		{"GET /healthz", s.healthz},
		{"GET /healthz/ping", s.healthz},
		{"GET /pods", s.pods},
		{"GET /pods/", s.pods},
		{"GET /runningpods/", s.runningPods},
		{"GET /containerLogs/{namespace}/{pod}/{container}", s.logs},
		{"GET /exec/{namespace}/{pod}/{container}", s.exec},
		{"POST /exec/{namespace}/{pod}/{container}", s.exec},
		{"GET /exec/{namespace}/{pod}/{uid}/{container}", s.exec},
		{"POST /exec/{namespace}/{pod}/{uid}/{container}", s.exec},
		{"GET /attach/{namespace}/{pod}/{container}", s.attach},
		{"POST /attach/{namespace}/{pod}/{container}", s.attach},
		{"GET /attach/{namespace}/{pod}/{uid}/{container}", s.attach},
		{"POST /attach/{namespace}/{pod}/{uid}/{container}", s.attach},
		{"GET /portForward/{namespace}/{pod}", s.portForward},
		{"POST /portForward/{namespace}/{pod}", s.portForward},
		{"GET /portForward/{namespace}/{pod}/{uid}", s.portForward},
		{"POST /portForward/{namespace}/{pod}/{uid}", s.portForward},
		{"GET /stats/summary", s.summary},
		{"GET /metrics", s.metrics},
		{"GET /metrics/resource", s.resourceMetrics},
		{"GET /metrics/cadvisor", s.cadvisorMetrics},
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.table() {
		mux.HandleFunc(r.pattern, r.serve)
	}
	return mux
}
