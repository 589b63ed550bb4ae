package image

import "context"

func (s *Store) verifySuspects(ctx context.Context, img Image) error { return nil }
