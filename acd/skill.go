package acd

import (
	"cmp"
	"slices"
	"strings"
)

// meets reports whether the skills satisfy every need. Both are sorted by name
// with each name once. A missing skill fails every need, also one of level 0.
func meets(skills []Skill, needs []Need) bool {
	i := 0
	for _, n := range needs {
		for i < len(skills) && skills[i].Name < n.Skill {
			i++
		}
		if i == len(skills) || skills[i].Name != n.Skill || skills[i].Level < n.AtLeast {
			return false
		}
	}
	return true
}

// sortNeeds copies the needs in the order of their skills; of several for one
// skill the highest counts.
func sortNeeds(lists ...[]Need) []Need {
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(a, b Need) int {
		return cmp.Or(strings.Compare(a.Skill, b.Skill), cmp.Compare(b.AtLeast, a.AtLeast))
	})
	return slices.CompactFunc(all, func(a, b Need) bool { return a.Skill == b.Skill })
}

// sortSkills copies the skills in the order of their names; of several of one
// name the highest counts.
func sortSkills(skills []Skill) []Skill {
	all := slices.Clone(skills)
	slices.SortFunc(all, func(a, b Skill) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(b.Level, a.Level))
	})
	return slices.CompactFunc(all, func(a, b Skill) bool { return a.Name == b.Name })
}
