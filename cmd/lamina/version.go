package main

import (
	"runtime"
	"runtime/debug"

	"github.com/lamina-llm/lamina/internal/cpu"
)

// version is set by release builds: -ldflags "-X main.version=v1.2.3".
var version string

// buildVersion returns the release, or what the Go tool recorded.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

type versionCmd struct {
	JSON bool `help:"Print JSON."`
}

type versionReport struct {
	Version   string `json:"version"`
	Go        string `json:"go"`
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	Processor string `json:"processor"`
	Tier      string `json:"tier"` // of the kernels in use
	Threads   int    `json:"threads"`
}

// Run prints the version.
func (c *versionCmd) Run(a *app) error {
	r := versionReport{
		Version: buildVersion(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Processor: cpu.Name(), Tier: cpu.Active().String(), Threads: runtime.GOMAXPROCS(0),
	}
	if c.JSON {
		return a.json(r)
	}
	a.printf("lamina %s, %s, %s/%s\n%s, %s kernels, %d threads\n", r.Version, r.Go, r.OS, r.Arch, r.Processor, r.Tier, r.Threads)
	return nil
}
