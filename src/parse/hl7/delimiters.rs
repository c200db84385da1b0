//! The characters that a message says it is divided by.
//!
//! Promises: only distinct, printable, non-alphanumeric ASCII characters are taken, so that a
//! split at a delimiter never cuts a character in two.
//! Knows nothing of: the rest of the message.

use super::Malformed;

/// Field separator (MSH-1) and encoding characters (MSH-2), chapter 2.5.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiters {
    /// Between fields; `|`.
    pub field: u8,
    /// Between components; `^`.
    pub component: u8,
    /// Between repetitions; `~`.
    pub repetition: u8,
    /// Around escapes; `\`.
    pub escape: u8,
    /// Between subcomponents; `&`. Absent where MSH-2 has three characters.
    pub subcomponent: Option<u8>,
    /// Marks a value that was cut short; `#`, from 2.7.
    pub truncation: Option<u8>,
}

impl Default for Delimiters {
    /// `|^~\&`, which chapter 2.5.4 recommends.
    fn default() -> Self {
        Self {
            field: b'|',
            component: b'^',
            repetition: b'~',
            escape: b'\\',
            subcomponent: Some(b'&'),
            truncation: None,
        }
    }
}

impl Delimiters {
    /// Reads MSH-1 and MSH-2.
    ///
    /// `^~\\&` is taken for `^~\&`: some senders escape the backslash once more.
    ///
    /// # Errors
    /// [`Malformed::Delimiters`] where they are not 3 to 5 distinct characters that can divide.
    pub fn read(field: u8, encoding: &[u8]) -> Result<Self, Malformed> {
        let (component, repetition, escape, subcomponent, truncation) = match encoding {
            [component, repetition, escape] => (*component, *repetition, *escape, None, None),
            [component, repetition, escape, sub] => {
                (*component, *repetition, *escape, Some(*sub), None)
            }
            [component, repetition, escape, again, sub] if escape == again => {
                (*component, *repetition, *escape, Some(*sub), None)
            }
            [component, repetition, escape, sub, cut] => {
                (*component, *repetition, *escape, Some(*sub), Some(*cut))
            }
            _ => return Err(Malformed::Delimiters),
        };
        let found = Self { field, component, repetition, escape, subcomponent, truncation };
        let mut all = vec![field, component, repetition, escape];
        all.extend(subcomponent);
        all.extend(truncation);
        let divides = all.iter().all(u8::is_ascii_punctuation);
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        if divides && all.len() == count { Ok(found) } else { Err(Malformed::Delimiters) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_to_five_encoding_characters_are_read() {
        assert_eq!(Delimiters::read(b'|', b"^~\\&"), Ok(Delimiters::default()));
        assert_eq!(Delimiters::read(b'|', b"^~\\\\&"), Ok(Delimiters::default()));
        let three = Delimiters::read(b'|', b"^~\\").unwrap();
        assert_eq!(three.subcomponent, None);
        let five = Delimiters::read(b'$', b"*@!%#").unwrap();
        assert_eq!((five.field, five.truncation), (b'$', Some(b'#')));
    }

    #[test]
    fn characters_that_cannot_divide_are_refused() {
        for (field, encoding) in [
            (b'|', &b"^~"[..]),
            (b'|', b""),
            (b'|', b"^~\\&#!"),
            (b'|', b"^^\\&"),
            (b'|', b"^|\\&"),
            (b'A', b"^~\\&"),
            (b'\r', b"^~\\&"),
            (b'|', b"^~\xc3\xa4"),
        ] {
            assert_eq!(Delimiters::read(field, encoding), Err(Malformed::Delimiters));
        }
    }
}
