package apiserver

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// watched is a storage that is only watched.
type watched struct {
	storage.Interface
	source watch.Interface
}

func (w watched) Watch(context.Context, string, storage.ListOptions) (watch.Interface, error) {
	return w.source, nil
}

func TestPatientWatchWaitsForItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := watch.NewFake() // unbuffered: a send waits until it is read
		w, err := patientStorage{watched{source: source}}.Watch(t.Context(), "/", storage.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		const many = 1000
		for i := range many {
			source.Add(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: strconv.Itoa(i)}})
		}
		source.Stop()
		got := 0
		for e := range w.ResultChan() {
			if name := e.Object.(*metav1.PartialObjectMetadata).Name; name != strconv.Itoa(got) {
				t.Fatalf("event %d is %q", got, name)
			}
			got++
		}
		if got != many {
			t.Errorf("%d of %d events arrived", got, many)
		}
	})
}

func TestPatientWatchStopsWithItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := watch.NewFake()
		w, err := patientStorage{watched{source: source}}.Watch(t.Context(), "/", storage.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		source.Add(&metav1.PartialObjectMetadata{})
		w.Stop()
		w.Stop()
		synctest.Wait()
		if !source.IsStopped() {
			t.Error("the source goes on")
		}
	})
}
