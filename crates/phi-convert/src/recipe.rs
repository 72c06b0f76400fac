//! Which type for which tensor: llama-quantize's placement, as data.

use phi_tensor::{DType, Role, Shape};

/// A target that users name, such as `Q4_0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recipe {
    /// Its name.
    pub name: &'static str,
    /// Its number in `general.file_type`, by which it may be named too.
    pub file_type: u32,
    /// For every matrix that nothing else is said of.
    base: DType,
    /// For the head, or the embedding that is the head as well: they are closest to the result.
    head: DType,
}

const ALL: &[Recipe] = &[
    Recipe { name: "F32", file_type: 0, base: DType::F32, head: DType::F32 },
    Recipe { name: "F16", file_type: 1, base: DType::F16, head: DType::F16 },
    Recipe { name: "BF16", file_type: 32, base: DType::BF16, head: DType::BF16 },
    Recipe { name: "Q8_0", file_type: 7, base: DType::Q8_0, head: DType::Q8_0 },
    // llama-quantize has Q6_K here. Until that can be written, the next better type; a head costs a third more.
    Recipe { name: "Q4_0", file_type: 2, base: DType::Q4_0, head: DType::Q8_0 },
];

impl Recipe {
    /// Every recipe.
    pub fn all() -> &'static [Recipe] {
        ALL
    }

    /// The recipe of this name, in any case, or of this number.
    pub fn find(text: &str) -> Option<Recipe> {
        let number = text.parse().ok();
        ALL.iter().copied().find(|r| r.name.eq_ignore_ascii_case(text) || Some(r.file_type) == number)
    }

    /// The type for a tensor. One whose rows the blocks do not divide is F16 instead, see [`Choice::wanted`].
    pub fn choose(&self, role: Role, shape: &Shape, tied: bool) -> Choice {
        let small = shape.dims().len() == 1;
        let wanted = match role {
            // Norms and factors are a thousandth of the bytes, and everything passes through them.
            _ if small => DType::F32,
            Role::Output => self.head,
            Role::TokenEmbd if tied => self.head,
            _ => self.base,
        };
        let fits = wanted.row_bytes(shape.cols()).is_some();
        Choice { dtype: if fits { wanted } else { DType::F16 }, wanted }
    }
}

/// What a recipe says of one tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The type it gets.
    pub dtype: DType,
    /// The type it would have got, if its rows were a multiple of the block.
    pub wanted: DType,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_is_that_of_llama_quantize() {
        let q4 = Recipe::find("q4_0").unwrap();
        assert_eq!(Recipe::find("2"), Some(q4));
        let matrix = Shape::matrix(64, 64);
        let dtype = |role, shape: &Shape, tied| q4.choose(role, shape, tied).dtype;
        assert_eq!(dtype(Role::AttnNorm, &Shape::vector(64), false), DType::F32);
        assert_eq!(dtype(Role::FfnDown, &matrix, false), DType::Q4_0);
        assert_eq!(dtype(Role::Output, &matrix, false), DType::Q8_0);
        assert_eq!(dtype(Role::TokenEmbd, &matrix, false), DType::Q4_0);
        assert_eq!(dtype(Role::TokenEmbd, &matrix, true), DType::Q8_0);
        let odd = q4.choose(Role::FfnDown, &Shape::matrix(64, 48), false);
        assert_eq!(odd, Choice { dtype: DType::F16, wanted: DType::Q4_0 });
    }
}
