package vvc

// ibcHistory is the history of block vectors.
type ibcHistory struct{}

func (h *ibcHistory) reset() {}

func (d *sliceDecoder) parseSkipAndMode(n *treeNode) {
	u := &d.cu
	small := u.w <= 64 && u.h <= 64
	if !(u.w == 4 && u.h == 4) && !n.intraOnly || small {
		u.skip = d.flag(ctxSkipFlag)
	}
	if u.skip {
		u.copy = true
		return
	}
	if small {
		u.copy = d.flag(ctxIbcFlag)
	}
}

func (d *sliceDecoder) codeCopy(u *cuState) { d.err = unsupported("intra block copy") }
