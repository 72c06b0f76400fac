//! What weights become for a while during prefill: 32 rows by 256 values, transposed, lanes being rows.

use bytemuck::{Pod, Zeroable};

/// Rows of a tile.
pub(crate) const PANEL: usize = 32;

/// Values of a row in a tile, and of one scale of the activations.
pub(crate) const GROUP: usize = 256;

/// Rows of integer codes. Value `k` of row `r` is `scale[k / sub, r] · codes[k, r] + bias[k / sub, r]`.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C, align(64))]
pub(crate) struct Tile {
    /// `[GROUP / 4, PANEL, 4]`, in up to two planes.
    pub(crate) codes: [[i8; PANEL * GROUP]; 2],
    /// `[sub-blocks, PANEL]`
    pub(crate) scale: [[f32; PANEL]; 16],
    /// `[sub-blocks, PANEL]`, of formats with minima.
    pub(crate) bias: [[f32; PANEL]; 16],
    /// What the products begin with, so that those of biased activations come out unbiased.
    pub(crate) start: [f32; PANEL],
    /// Codes before they are transposed: `[PANEL, GROUP]`.
    pub(crate) rows: [[i8; GROUP]; PANEL],
}

/// Rows of floats.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C, align(64))]
pub(crate) struct FloatTile {
    /// `[GROUP, PANEL]`
    pub(crate) values: [[f32; PANEL]; GROUP],
    /// Before they are transposed.
    pub(crate) rows: [[f32; GROUP]; PANEL],
}

/// Scales and minima of one row's group: value `k` is `scale[k / sub] · code + min[k / sub]`, where a format without
/// minima has codes around the middle of their range.
#[repr(C, align(64))]
pub(crate) struct Scales {
    pub(crate) scale: [f32; 16],
    pub(crate) min: [f32; 16],
    /// For formats with whole scales: values `32 i + 16 h` to `32 i + 16 h + 15` have the scale `d · whole[h][i]`,
    pub(crate) whole: [[i16; 8]; 2],
    /// and the minimum `−dmin · whole_min[h][i]`.
    pub(crate) whole_min: [[i16; 8]; 2],
    pub(crate) d: f32,
    pub(crate) dmin: f32,
}

impl Scales {
    pub(crate) const ZERO: Scales =
        Scales { scale: [0.0; 16], min: [0.0; 16], whole: [[0; 8]; 2], whole_min: [[0; 8]; 2], d: 0.0, dmin: 0.0 };
}

/// Panels of rows that share a pass over the activations.
pub(crate) const PANELS: usize = 4;

/// One thread's room for tiles.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) tiles: [Tile; PANELS],
    pub(crate) floats: FloatTile,
}
