package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of how long a projected token lives, in seconds.
const (
	minTokenSeconds = 10 * 60
	maxTokenSeconds = 1 << 32
)

// validateProjected agrees with upstream's validateProjectedVolumeSource.
func validateProjected(p *corev1.ProjectedVolumeSource, at *field.Path) field.ErrorList {
	errs := validateMode(p.DefaultMode, at.Child("defaultMode"))
	paths := sets.New[string]()
	for i := range p.Sources {
		errs = append(errs, validateProjection(&p.Sources[i], at.Child("sources").Index(i), paths)...)
	}
	return errs
}

// projection is one source's check, with the paths that it writes.
type projection struct {
	at    *field.Path
	paths sets.Set[string]
	found int
	errs  field.ErrorList
}

func (p *projection) begin(name string) (*field.Path, bool) {
	p.found++
	if p.found > 1 {
		p.errs = append(p.errs, field.Forbidden(p.at.Child(name), "may not specify more than 1 volume type per source"))
		return nil, false
	}
	return p.at.Child(name), true
}

// write takes a path, which no other source may write.
func (p *projection) write(at *field.Path, path, source string) {
	if path == "" {
		return
	}
	if p.paths.Has(path) {
		p.errs = append(p.errs, field.Invalid(at, source, fmt.Sprintf("conflicting duplicate paths: %s", path)))
	}
	p.paths.Insert(path)
}

func (p *projection) items(items []corev1.KeyToPath, at *field.Path, source string) {
	for i := range items {
		p.errs = append(p.errs, validateItem(&items[i], at.Child("items").Index(i))...)
		p.write(at, items[i].Path, source)
	}
}

func validateProjection(s *corev1.VolumeProjection, at *field.Path, paths sets.Set[string]) field.ErrorList {
	p := &projection{at: at, paths: paths}
	if s.Secret != nil {
		if at, ok := p.begin("secret"); ok {
			p.errs = append(p.errs, required(at, "name", s.Secret.Name)...)
			p.items(s.Secret.Items, at, s.Secret.Name)
		}
	}
	if s.ConfigMap != nil {
		if at, ok := p.begin("configMap"); ok {
			p.errs = append(p.errs, required(at, "name", s.ConfigMap.Name)...)
			p.items(s.ConfigMap.Items, at, s.ConfigMap.Name)
		}
	}
	if s.DownwardAPI != nil {
		if at, ok := p.begin("downwardAPI"); ok {
			for i := range s.DownwardAPI.Items {
				p.errs = append(p.errs, validateDownward(&s.DownwardAPI.Items[i], at)...)
				p.write(at, s.DownwardAPI.Items[i].Path, s.DownwardAPI.Items[i].Path)
			}
		}
	}
	if t := s.ServiceAccountToken; t != nil {
		if at, ok := p.begin("serviceAccountToken"); ok {
			p.errs = append(p.errs, validateToken(t, at)...)
			p.write(at, t.Path, t.Path)
		}
	}
	if c := s.ClusterTrustBundle; c != nil {
		if at, ok := p.begin("clusterTrustBundle"); ok {
			p.errs = append(p.errs, required(at, "path", c.Path)...)
			p.errs = append(p.errs, validateLocal(c.Path, at.Child("path"))...)
			p.write(at, c.Path, c.Path)
		}
	}
	if s.PodCertificate != nil {
		p.begin("podCertificate")
	}
	if p.found == 0 {
		p.errs = append(p.errs, field.Required(at, "must specify a source"))
	}
	return p.errs
}

func validateToken(t *corev1.ServiceAccountTokenProjection, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s := t.ExpirationSeconds; s != nil {
		if *s < minTokenSeconds {
			errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration less than 10 minutes"))
		}
		if *s > maxTokenSeconds {
			errs = append(errs, field.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration larger than 2^32 seconds"))
		}
	}
	if t.Path == "" {
		return append(errs, field.Required(at.Child("path"), ""))
	}
	return append(errs, validateLocal(t.Path, at.Child("path"))...)
}
