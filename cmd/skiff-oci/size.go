package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

var errSize = errors.New("a size is bytes, or a number with k, m, g, t or p")

// size reads an amount of memory as docker and runc do: bytes, or a number, perhaps with a fraction, and a unit. Units
// are powers of 1024 and may be written k, K, kb, KiB, with or without a space. -1 is no limit.
func size(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	end := strings.LastIndexAny(s, "0123456789.") + 1
	num, shift, err := s[:end], 0, error(nil)
	if unit := strings.TrimPrefix(s[end:], " "); unit != "" {
		if shift, err = unitShift(strings.ToLower(unit)); err != nil {
			return 0, err
		}
	}
	if strings.Trim(num, "0123456789.") != "" { // no sign, exponent, hexadecimals, infinity
		return 0, errSize
	}
	if n, err := strconv.ParseInt(num, 10, 64); err == nil {
		if n > math.MaxInt64>>shift {
			return 0, strconv.ErrRange
		}
		return n << shift, nil
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil {
		return 0, errSize
	}
	if f *= float64(int64(1) << shift); f >= math.MaxInt64 {
		return 0, strconv.ErrRange
	}
	return int64(f), nil
}

// unitShift is how far "b", "k", "kb" or "kib" shift a number of bytes.
func unitShift(unit string) (int, error) {
	if unit == "b" {
		return 0, nil
	}
	i := strings.IndexByte("kmgtp", unit[0])
	if rest := unit[1:]; i < 0 || rest != "" && rest != "b" && rest != "ib" {
		return 0, errSize
	}
	return 10 * (i + 1), nil
}
