//! Comparisons of bytes of a packet: `tcp[13] & 2 != 0`, `len > 100`. Pure.

use std::fmt;

use super::Protocol;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// `len`: the bytes of the frame.
    Length,
    /// `ip[6:2]`: bytes of a header, the first one highest.
    Bytes {
        /// Whose header they are counted from; `None`: the frame's (`ether`).
        of: Option<Protocol>,
        /// How many bytes come before.
        offset: u32,
        /// 1, 2 or 4.
        size: u8,
    },
}

/// How it is compared, without a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}

impl Relation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessEqual,
        Self::Greater,
        Self::GreaterEqual,
    ];

    /// The sign for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
        }
    }
}

/// Bytes against a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// What is compared.
    pub load: Load,
    /// Its bits that count.
    pub mask: Option<u32>,
    /// How.
    pub relation: Relation,
    /// With what.
    pub value: u32,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.load {
            Load::Length => f.write_str("len")?,
            Load::Bytes { of, offset, size } => {
                let of = of.map_or("ether", Protocol::word);
                write!(f, "{of}[{offset}:{size}]")?;
            }
        }
        if let Some(mask) = self.mask {
            write!(f, " & {mask:#x}")?;
        }
        write!(f, " {} {}", self.relation.word(), self.value)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_comparison() -> impl Strategy<Value = Comparison> {
        let of = (0..=Protocol::ALL.len()).prop_map(|n| Protocol::ALL.get(n).copied());
        let size = prop_oneof![Just(1u8), Just(2), Just(4)];
        let load = prop_oneof![
            1 => Just(Load::Length),
            8 => (of, 0u32..20, size).prop_map(|(of, offset, size)| Load::Bytes { of, offset, size }),
        ];
        let mask = proptest::option::of(prop_oneof![Just(0xf0u32), Just(3), any::<u32>()]);
        let value = prop_oneof![0u32..8, any::<u32>()];
        (load, mask, 0..Relation::ALL.len(), value).prop_map(|(load, mask, n, value)| Comparison {
            load,
            mask,
            relation: Relation::ALL[n],
            value,
        })
    }
}
