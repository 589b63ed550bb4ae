package kind

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Table is how `kubectl get` shows a kind: columns and one row per object. The
// row carries the cells of the wide columns too (priority 1); kubectl hides
// them. Row may be nil: name and creation time then.
type Table[T Object] struct {
	Columns    []metav1.TableColumnDefinition
	Row        func(T) []any
	Conditions func(T) []metav1.TableRowCondition
}

func (t Table[T]) convertor(resource schema.GroupResource) rest.TableConvertor {
	fallback := rest.NewDefaultTableConvertor(resource)
	if t.Row == nil {
		return fallback
	}
	return tableConvertor[T]{t, fallback}
}

type tableConvertor[T Object] struct {
	table    Table[T]
	fallback rest.TableConvertor
}

func (c tableConvertor[T]) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if opt, ok := options.(*metav1.TableOptions); !ok || opt == nil || !opt.NoHeaders {
		table.ColumnDefinitions = c.table.Columns
	}
	row := func(obj runtime.Object) bool {
		t, ok := obj.(T)
		if !ok {
			return false
		}
		r := metav1.TableRow{Cells: c.table.Row(t), Object: runtime.RawExtension{Object: obj}}
		if c.table.Conditions != nil {
			r.Conditions = c.table.Conditions(t)
		}
		table.Rows = append(table.Rows, r)
		return true
	}
	if !meta.IsListType(object) {
		if !row(object) {
			return c.fallback.ConvertToTable(ctx, object, options)
		}
		if m, err := meta.CommonAccessor(object); err == nil {
			table.ResourceVersion = m.GetResourceVersion()
		}
		return table, nil
	}
	known := true
	err := meta.EachListItem(object, func(obj runtime.Object) error {
		known = known && row(obj)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !known {
		return c.fallback.ConvertToTable(ctx, object, options)
	}
	if m, err := meta.ListAccessor(object); err == nil {
		table.ResourceVersion = m.GetResourceVersion()
		table.Continue = m.GetContinue()
		table.RemainingItemCount = m.GetRemainingItemCount()
	}
	return table, nil
}

// Column is a column of text; Wide shows it with -o wide only.
func Column(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

// NameColumn is the first column of every table.
func NameColumn() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
}

// AgeColumn is the time since creation.
func AgeColumn() metav1.TableColumnDefinition {
	return Column("Age", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"])
}

// Integer makes the column one of whole numbers.
func Integer(c metav1.TableColumnDefinition) metav1.TableColumnDefinition {
	c.Type = "integer"
	return c
}

// Wide makes the column one of `-o wide`.
func Wide(c metav1.TableColumnDefinition) metav1.TableColumnDefinition {
	c.Priority = 1
	return c
}

// Age is how long ago t was, as kubectl writes it.
func Age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}
