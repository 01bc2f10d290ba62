package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hotline/acd/live"
)

// What the pages show must be so.

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

func TestTheConfigurationsInThePagesAreValid(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, block := range yamlBlock.FindAllStringSubmatch(read(t, page), -1) {
			n++
			env := func(name string) (string, bool) { return "value-of-" + name, true }
			if _, err := parseConfig(page, []byte(block[1]), env); err != nil {
				t.Errorf("%s:\n%v", page, err)
			}
		}
	}
	if n == 0 {
		t.Error("no page shows a configuration")
	}
}

var link = regexp.MustCompile(`\]\(([^)#]+)\)`)

func TestTheLinksInThePagesLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		for _, l := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(l[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), l[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

var code = regexp.MustCompile("`(\\*1[0-9]+)`")

func TestTheFeatureCodesInThePagesExist(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		for _, c := range code.FindAllStringSubmatch(read(t, page), -1) {
			n++
			if !live.IsFeature(c[1]) {
				t.Errorf("%s speaks of %s, which does nothing", page, c[1])
			}
		}
	}
	if n == 0 {
		t.Error("no page names a feature code")
	}
}

func TestTheCommandsInThePagesExist(t *testing.T) {
	var help strings.Builder
	run([]string{"--help"}, strings.NewReader(""), &help, &help)
	for _, page := range pages(t) {
		for _, c := range regexp.MustCompile("`hotline ([a-z]+)|\n    bin/hotline ([a-z]+)|\\(bin/hotline ([a-z]+)\\)").FindAllStringSubmatch(read(t, page), -1) {
			name := c[1] + c[2] + c[3]
			if !regexp.MustCompile(`(?m)^\s+` + name + `\b`).MatchString(help.String()) {
				t.Errorf("%s speaks of `hotline %s`, which is no command", page, name)
			}
		}
	}
}

func pages(t *testing.T) []string {
	t.Helper()
	var pages []string
	for _, pattern := range []string{"../../*.md", "../*/*.md", "../../acd/*.md", "../../acd/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	return pages
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
