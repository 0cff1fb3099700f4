//! Facts about tensors: the sizes of their types, and hashes of their names.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Maximum number of tensors of a file. Models have thousands, mixtures of experts some ten thousand.
pub(super) const MAX_TENSORS: usize = 1 << 20;

/// Hash of a tensor's name, which takes less memory than the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameHash(u64);

impl NameHash {
    pub(super) fn of(name: &(impl Hash + ?Sized)) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Bits of one element of a safetensors type; `None` for an unknown type.
pub(super) fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "U16" | "I16" | "F16" | "BF16" => 16,
        "U32" | "I32" | "F32" => 32,
        "U64" | "I64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

/// Elements and bytes of one block of a GGUF type; `None` for an unknown or removed type.
pub(super) fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        // F32, F16, BF16, F64; I8, I16, I32, I64.
        0 | 26 => (1, 4),
        1 | 25 | 30 => (1, 2),
        24 => (1, 1),
        27 | 28 => (1, 8),
        // Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4.
        2 | 20 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        39 => (32, 17),
        // Q2_K, Q4_K to Q6_K, Q8_K.
        10 => (256, 84),
        // Q3_K, IQ3_S.
        11 | 21 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        15 => (256, 292),
        // IQ2_XXS, TQ2_0; IQ2_XS, IQ3_XXS, IQ1_S, IQ2_S, IQ4_XS, IQ1_M.
        16 | 35 => (256, 66),
        17 => (256, 74),
        18 => (256, 98),
        19 => (256, 50),
        22 => (256, 82),
        23 => (256, 136),
        29 => (256, 56),
        // TQ1_0.
        34 => (256, 54),
        _ => return None,
    })
}
