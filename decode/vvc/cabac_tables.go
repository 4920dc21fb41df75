package vvc

// Context indices: the first context of each syntax element (H.266 table 51).
const (
	ctxSplitFlag      = 0
	ctxSplitQt        = 9
	ctxSplitVertical  = 15
	ctxSplitBinary    = 20
	ctxSkipFlag       = 24
	ctxMergeFlag      = 27
	ctxMergeIdx       = 28
	ctxMvpIdx         = 29
	ctxMvd            = 30
	ctxAmvr           = 32
	ctxRootCbf        = 37
	ctxIbcFlag        = 38
	ctxMultiRefLine   = 41
	ctxMpmFlag        = 43
	ctxChromaPredMode = 44
	ctxPlanarFlag     = 45
	ctxCclmFlag       = 47
	ctxCclmIdx        = 48
	ctxMipFlag        = 49
	ctxDeltaQP        = 53
	ctxBdpcm          = 55
	ctxCbfLuma        = 59
	ctxCbfCb          = 63
	ctxCbfCr          = 65
	ctxSubblockLuma   = 68
	ctxSubblockChroma = 70
	ctxSigLuma0       = 72
	ctxSigChroma0     = 84
	ctxSigLuma1       = 92
	ctxSigChroma1     = 104
	ctxSigLuma2       = 112
	ctxSigChroma2     = 124
	ctxParLuma        = 132
	ctxParChroma      = 153
	ctxGt2Luma        = 164
	ctxGt2Chroma      = 185
	ctxGt1Luma        = 196
	ctxGt1Chroma      = 217
	ctxLastXLuma      = 228
	ctxLastXChroma    = 248
	ctxLastYLuma      = 251
	ctxLastYChroma    = 271
	ctxSaoMerge       = 274
	ctxSaoType        = 275
	ctxLfnst          = 276
	ctxMts            = 279
	ctxIsp            = 285
	ctxChromaQpFlag   = 287
	ctxChromaQpIdx    = 288
	ctxAlfFlag        = 289
	ctxAlfAlternative = 298
	ctxAlfUseAps      = 300
	ctxCcAlf          = 301
	ctxJointCbCr      = 307
	ctxTsSubblock     = 310
	ctxTsSig          = 313
	ctxTsPar          = 316
	ctxTsGtx          = 317
	ctxTsGt1          = 322
	ctxTsSign         = 326
	numContexts       = 332
)

// contextInit holds, per context, initValue for I slices (initType 0) and shiftIdx (clause 9.3.2.2).
var contextInit = [numContexts][2]uint8{
	// ctxSplitFlag
	{19, 12}, {28, 13}, {38, 8}, {27, 8}, {29, 13}, {38, 12}, {20, 5}, {30, 9}, {31, 9},
	// ctxSplitQt
	{27, 0}, {6, 8}, {15, 8}, {25, 12}, {19, 12}, {37, 8},
	// ctxSplitVertical
	{43, 9}, {42, 8}, {29, 9}, {27, 8}, {44, 5},
	// ctxSplitBinary
	{36, 12}, {45, 13}, {36, 12}, {45, 13},
	// ctxSkipFlag
	{0, 5}, {26, 4}, {28, 8},
	// ctxMergeFlag
	{26, 4},
	// ctxMergeIdx
	{34, 4},
	// ctxMvpIdx
	{42, 12},
	// ctxMvd
	{14, 9}, {45, 5},
	// ctxAmvr
	{35, 0}, {34, 5}, {35, 0}, {35, 0}, {35, 4},
	// ctxRootCbf
	{6, 4},
	// ctxIbcFlag
	{17, 1}, {42, 5}, {36, 8},
	// ctxMultiRefLine
	{25, 5}, {60, 8},
	// ctxMpmFlag
	{45, 6},
	// ctxChromaPredMode
	{34, 5},
	// ctxPlanarFlag
	{13, 1}, {28, 5},
	// ctxCclmFlag
	{59, 4},
	// ctxCclmIdx
	{27, 9},
	// ctxMipFlag
	{33, 9}, {49, 10}, {50, 9}, {25, 6},
	// ctxDeltaQP
	{35, 8}, {35, 8},
	// ctxBdpcm
	{19, 1}, {35, 4}, {1, 1}, {27, 0},
	// ctxCbfLuma
	{15, 5}, {12, 1}, {5, 8}, {7, 9},
	// ctxCbfCb
	{12, 5}, {21, 0},
	// ctxCbfCr
	{33, 2}, {28, 1}, {36, 0},
	// ctxSubblockLuma
	{18, 8}, {31, 5},
	// ctxSubblockChroma
	{25, 5}, {15, 8},
	// ctxSigLuma0
	{25, 12}, {19, 9}, {28, 9}, {14, 10}, {25, 9}, {20, 9}, {29, 9}, {30, 10}, {19, 8}, {37, 8}, {30, 8}, {38, 10},
	// ctxSigChroma0
	{25, 12}, {27, 12}, {28, 9}, {37, 13}, {34, 4}, {53, 5}, {53, 8}, {46, 9},
	// ctxSigLuma1
	{11, 9}, {38, 13}, {46, 8}, {54, 8}, {27, 8}, {39, 8}, {39, 8}, {39, 5}, {44, 8}, {39, 0}, {39, 0}, {39, 0},
	// ctxSigChroma1
	{19, 8}, {46, 12}, {38, 12}, {39, 8}, {52, 4}, {39, 0}, {39, 0}, {39, 0},
	// ctxSigLuma2
	{18, 8}, {39, 8}, {39, 8}, {39, 8}, {27, 8}, {39, 0}, {39, 4}, {39, 4}, {0, 0}, {39, 0}, {39, 0}, {39, 0},
	// ctxSigChroma2
	{11, 8}, {39, 8}, {39, 8}, {39, 8}, {19, 4}, {39, 0}, {39, 0}, {39, 0},
	// ctxParLuma
	{33, 8}, {25, 9}, {18, 12}, {26, 13}, {34, 13}, {27, 13}, {25, 10}, {26, 13}, {19, 13}, {42, 13}, {35, 13}, {33, 13}, {19, 13}, {27, 13}, {35, 13}, {35, 13}, {34, 10}, {42, 13}, {20, 13}, {43, 13}, {20, 13},
	// ctxParChroma
	{33, 8}, {25, 12}, {26, 12}, {42, 12}, {19, 13}, {27, 13}, {26, 13}, {50, 13}, {35, 13}, {20, 13}, {43, 13},
	// ctxGt2Luma
	{25, 1}, {1, 5}, {40, 9}, {25, 9}, {33, 9}, {11, 6}, {17, 5}, {25, 9}, {25, 10}, {18, 10}, {4, 9}, {17, 9}, {33, 9}, {26, 9}, {19, 9}, {13, 9}, {33, 6}, {19, 8}, {20, 9}, {28, 9}, {22, 10},
	// ctxGt2Chroma
	{40, 1}, {9, 5}, {25, 8}, {18, 8}, {26, 9}, {35, 6}, {25, 6}, {26, 9}, {35, 8}, {28, 8}, {37, 9},
	// ctxGt1Luma
	{25, 9}, {25, 5}, {11, 10}, {27, 13}, {20, 13}, {21, 10}, {33, 9}, {12, 10}, {28, 13}, {21, 13}, {22, 13}, {34, 9}, {28, 10}, {29, 10}, {29, 10}, {30, 13}, {36, 8}, {29, 9}, {45, 10}, {30, 10}, {23, 13},
	// ctxGt1Chroma
	{40, 8}, {33, 8}, {27, 9}, {28, 12}, {21, 12}, {37, 10}, {36, 5}, {37, 9}, {45, 9}, {38, 9}, {46, 13},
	// ctxLastXLuma
	{13, 8}, {5, 5}, {4, 4}, {21, 5}, {14, 4}, {4, 4}, {6, 5}, {14, 4}, {21, 1}, {11, 0}, {14, 4}, {7, 1}, {14, 0}, {5, 0}, {11, 0}, {21, 0}, {30, 1}, {22, 0}, {13, 0}, {42, 0},
	// ctxLastXChroma
	{12, 5}, {4, 4}, {3, 4},
	// ctxLastYLuma
	{13, 8}, {5, 5}, {4, 8}, {6, 5}, {13, 5}, {11, 4}, {14, 5}, {6, 5}, {5, 4}, {3, 0}, {14, 5}, {22, 4}, {6, 1}, {4, 0}, {3, 0}, {6, 1}, {22, 4}, {29, 0}, {20, 0}, {34, 0},
	// ctxLastYChroma
	{12, 6}, {4, 5}, {3, 5},
	// ctxSaoMerge
	{60, 0},
	// ctxSaoType
	{13, 4},
	// ctxLfnst
	{28, 9}, {52, 9}, {42, 10},
	// ctxMts
	{29, 8}, {0, 0}, {28, 9}, {0, 0}, {25, 1}, {9, 1},
	// ctxIsp
	{33, 9}, {43, 2},
	// ctxChromaQpFlag
	{35, 8},
	// ctxChromaQpIdx
	{35, 8},
	// ctxAlfFlag
	{62, 0}, {39, 0}, {39, 0}, {54, 4}, {39, 0}, {39, 0}, {31, 1}, {39, 0}, {39, 0},
	// ctxAlfAlternative
	{11, 0}, {11, 0},
	// ctxAlfUseAps
	{46, 0},
	// ctxCcAlf
	{18, 4}, {30, 1}, {31, 4}, {18, 4}, {30, 1}, {31, 4},
	// ctxJointCbCr
	{12, 1}, {21, 1}, {35, 0},
	// ctxTsSubblock
	{18, 5}, {20, 8}, {38, 8},
	// ctxTsSig
	{25, 13}, {28, 13}, {38, 8},
	// ctxTsPar
	{11, 6},
	// ctxTsGtx
	{35, 8}, {10, 1}, {3, 1}, {3, 1}, {3, 1},
	// ctxTsGt1
	{11, 4}, {5, 2}, {5, 1}, {14, 6},
	// ctxTsSign
	{12, 1}, {17, 4}, {46, 4}, {28, 5}, {25, 8}, {46, 8},
}
