package cgroup

import "math"

// Weight translates cpu.shares of v1 (2..262144, default 1024) into cpu.weight of v2 (1..10000, default 100), along
// the curve that runtimes agreed on in 2025 (KEP-2254): both ends and both defaults meet.
func Weight(shares uint64) uint64 {
	switch {
	case shares == 0:
		return 0
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// Shares is the opposite of Weight, to the nearest whole number.
func Shares(weight uint64) uint64 {
	if weight == 0 {
		return 0
	}
	const a, b, c = 612, 125, 7.0 / 34
	l := (math.Sqrt(b*b+4*a*(math.Log10(float64(weight))+c)) - b) / 2
	return uint64(math.Round(math.Pow(2, l)))
}

// MinWeight and MaxWeight bound the weights of block devices in a configuration.
const MinWeight, MaxWeight = 10, 1000

// IOWeight translates blkio.weight of v1 (10..1000) into io.weight of v2 (1..10000).
func IOWeight(w uint16) uint64 {
	if w == 0 {
		return 0
	}
	return 1 + (uint64(w)-MinWeight)*9999/(MaxWeight-MinWeight)
}
