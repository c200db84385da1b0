//! Names of segments.
//!
//! Promises: two names of three ASCII characters are equal where their numbers are.
//! Knows nothing of: which names there are; a site makes up its own.

/// Whether bytes are a segment name of chapter 2.5: a capital, then two capitals or digits.
#[must_use]
pub fn is_segment_name(name: &[u8]) -> bool {
    matches!(name, [first, rest @ ..] if first.is_ascii_uppercase() && rest.len() == 2
        && rest.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
}

/// A three-letter name as a number.
#[must_use]
pub const fn pack(name: &[u8; 3]) -> u32 {
    let [a, b, c] = *name;
    u32::from_be_bytes([0, a, b, c])
}

/// A name as a number; 0 where it is not three ASCII characters.
#[must_use]
pub fn pack_name(name: &[u8]) -> u32 {
    name.try_into().ok().filter(|_| name.is_ascii()).map_or(0, pack)
}

/// Declares the names that our code asks for, each as its number.
macro_rules! names {
    ($($name:ident $bytes:literal),* $(,)?) => {
        $(#[doc = concat!("`", stringify!($name), "`.")] pub const $name: u32 = pack($bytes);)*
    };
}

names! {
    ARV b"ARV",
    CON b"CON",
    DG1 b"DG1",
    MRG b"MRG",
    MSH b"MSH",
    OBR b"OBR",
    OBX b"OBX",
    ORC b"ORC",
    PD1 b"PD1",
    PID b"PID",
    PV1 b"PV1",
    PV2 b"PV2",
    TXA b"TXA",
}
