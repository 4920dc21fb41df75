// Package tile says how a weight matrix is cut into lane groups and panels.
// Every codec and every kernel uses the same cut, so that the same integer dot
// products are added in the same order whoever computes them.
package tile

// Lanes is the width of a lane group: the columns that one vector step covers.
const Lanes = 64

// MaxGroups is the number of lane groups in the widest panel.
const MaxGroups = 4

// MaxWidth is the width of the widest panel in columns.
const MaxWidth = Lanes * MaxGroups

// Layout is the cut of a matrix of Rows x Cols. Columns are padded to whole
// lane groups; groups are shared out evenly over as few panels of at most
// MaxGroups as hold them. Activations have one int8 scale per panel.
type Layout struct {
	Rows, Cols int
}

// Groups returns the number of lane groups.
func (l Layout) Groups() int { return (l.Cols + Lanes - 1) / Lanes }

// Padded returns the number of columns with padding.
func (l Layout) Padded() int { return l.Groups() * Lanes }

// Panels returns the number of panels.
func (l Layout) Panels() int { return (l.Groups() + MaxGroups - 1) / MaxGroups }

// Panel returns the lane groups [g0, g1) of panel p.
func (l Layout) Panel(p int) (g0, g1 int) {
	groups, panels := l.Groups(), l.Panels()
	return groups * p / panels, groups * (p + 1) / panels
}

// Columns returns the padded columns [c0, c1) of panel p.
func (l Layout) Columns(p int) (c0, c1 int) {
	g0, g1 := l.Panel(p)
	return g0 * Lanes, g1 * Lanes
}
