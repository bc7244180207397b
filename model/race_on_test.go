//go:build race

package model

// raceEnabled: everything takes ten times as long, and only the searchers have
// anything to race about.
const raceEnabled = true
