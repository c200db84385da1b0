//! What an element is, by its name and where it stands.
//!
//! Promises: a name that the standard does not have there is nothing.
//! Knows nothing of: which groups, segments and data types there are.

use std::fmt::Write;

/// Highest number of a field or component that is taken, as for paths.
const NUMBER_MAX: u16 = 999;
/// Longest name of a root, a group or a data type, in bytes. The longest group of 2.9 has 44.
const NAME_BYTES_MAX: usize = 96;

/// `CX.4` to `CX` and 4.
pub(super) fn numbered(name: &str) -> Option<(&str, u16)> {
    let (prefix, digits) = name.rsplit_once('.')?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let number = digits.parse().ok().filter(|_| is_number)?;
    (number <= NUMBER_MAX).then_some((prefix, number))
}

/// Whether a name may be a root's: `ADT_A01`, `ACK`, `HL7Message`.
pub(super) fn is_root(name: &str) -> bool {
    is_word(name)
}

/// Whether a name is that of a group: the message structure, a dot, and a word, such as
/// `ORU_R01.PATIENT_RESULT`.
pub(super) fn is_group(name: &str) -> bool {
    name.split_once('.').is_some_and(|(structure, group)| is_word(structure) && is_word(group))
}

/// Whether a name is that of a data type, such as `CX` or `CM_MSG`.
pub(super) fn is_data_type(name: &str) -> bool {
    is_word(name)
}

/// A letter, then letters, digits and underscores.
fn is_word(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.len() <= NAME_BYTES_MAX
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && name.bytes().all(is_inner)
}

/// The name of a part as engines have it: `PID`, `PID.3`, `PID.3.4`.
pub(super) fn engine(segment: [u8; 3], numbers: &[u16]) -> String {
    let mut name: String = segment.iter().map(|byte| char::from(*byte)).collect();
    for number in numbers {
        // Writing to a string does not fail.
        if write!(name, ".{number}").is_err() {
            break;
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(numbered("CX.4"), Some(("CX", 4)));
        assert_eq!(numbered("PID.3.4"), Some(("PID.3", 4)));
        for wrong in ["CX", "CX.", "CX.0", "CX.04", "CX.x", "CX.1000", "CX.+4", "CX.99999999"] {
            assert_eq!(numbered(wrong), None, "{wrong}");
        }
        assert!(is_group("ORU_R01.PATIENT_RESULT") && !is_group("PID.3") && !is_group("A.B.C"));
        assert!(is_root("ACK") && !is_root("PID.3") && !is_root("") && !is_root("1A"));
        assert_eq!(engine(*b"PID", &[3, 4]), "PID.3.4");
    }
}
