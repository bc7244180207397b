//go:build !trace

package mapper_test

const traced = false
