//go:build !race

package mapper_test

const raced = false
