package reconcile

import (
	"time"

	"k8s.io/component-base/metrics"
)

// Metrics counts what the loops do. A nil *Metrics counts nothing.
type Metrics struct {
	length  *metrics.GaugeVec
	wait    *metrics.HistogramVec
	work    *metrics.HistogramVec
	results *metrics.CounterVec
}

// NewMetrics returns metrics to be registered once per process.
func NewMetrics() *Metrics {
	buckets := metrics.ExponentialBuckets(0.0005, 4, 9)
	label := []string{"controller"}
	return &Metrics{
		length: metrics.NewGaugeVec(&metrics.GaugeOpts{
			Name: "skiff_reconcile_queue_depth", Help: "Keys that wait for a worker.", StabilityLevel: metrics.ALPHA}, label),
		wait: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Name: "skiff_reconcile_wait_seconds", Help: "Time from the first event to the run.", Buckets: buckets, StabilityLevel: metrics.ALPHA}, label),
		work: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Name: "skiff_reconcile_work_seconds", Help: "Time of one run.", Buckets: buckets, StabilityLevel: metrics.ALPHA}, label),
		results: metrics.NewCounterVec(&metrics.CounterOpts{
			Name: "skiff_reconcile_total", Help: "Runs by result.", StabilityLevel: metrics.ALPHA}, []string{"controller", "result"}),
	}
}

// Registerables are the metrics, for the process's registry.
func (m *Metrics) Registerables() []metrics.Registerable {
	return []metrics.Registerable{m.length, m.wait, m.work, m.results}
}

func (m *Metrics) depth(name string, depth int) {
	if m != nil {
		m.length.WithLabelValues(name).Set(float64(depth))
	}
}

func (m *Metrics) started(name string, depth int, waited time.Duration) {
	if m != nil {
		m.depth(name, depth)
		m.wait.WithLabelValues(name).Observe(waited.Seconds())
	}
}

func (m *Metrics) finished(name string, took time.Duration, err error) {
	if m == nil {
		return
	}
	result := "success"
	if err != nil {
		result = "error"
	}
	m.work.WithLabelValues(name).Observe(took.Seconds())
	m.results.WithLabelValues(name, result).Inc()
}
