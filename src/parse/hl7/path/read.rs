//! A path from its text.
//!
//! Promises: a path that cannot be is refused, and the refusal says why.
//! Knows nothing of: messages.

use super::{NUMBER_MAX, Path, Repetition, Which};
use crate::parse::hl7::name::pack_name;

impl Path {
    /// Reads a path. A segment alone, such as `OBX`, is one too: it names whole segments.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not a path: {why}");
        let (head, tail) = match split_outside_brackets(text, '-') {
            Some((head, tail)) => (head, Some(tail)),
            None => (text, None),
        };
        let (segment, bracket) = split_bracket(head).map_err(wrong)?;
        let named = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !named {
            return Err(wrong("it begins with a segment name, such as PID"));
        }
        let occurrence = match bracket {
            None => Which::Unsaid,
            Some(which) => {
                read_which(which).ok_or_else(|| wrong("behind a segment stands [n] or [*]"))?
            }
        };
        let mut path = Self {
            segment: segment.into(),
            packed: pack_name(segment.as_bytes()),
            occurrence,
            field: 0,
            repetition: Repetition::Which(Which::Unsaid),
            component: 0,
            subcomponent: 0,
        };
        let Some(tail) = tail else { return Ok(path) };
        let (field, rest) = match split_outside_brackets(tail, '.') {
            Some((field, rest)) => (field, Some(rest)),
            None => (tail, None),
        };
        let (number, bracket) = split_bracket(field).map_err(wrong)?;
        path.field = read_number(number).ok_or_else(|| wrong("fields are numbered from 1"))?;
        if let Some(bracket) = bracket {
            path.repetition = read_repetition(bracket)
                .ok_or_else(|| wrong("behind a field stands [n], [*] or [?4.1=TEXT]"))?;
        }
        if let Some(rest) = rest {
            let (component, subcomponent) =
                read_component(rest).ok_or_else(|| wrong("components are numbered from 1"))?;
            path.component = component;
            path.subcomponent = subcomponent;
        }
        Ok(path)
    }
}

/// Splits at the first separator that is not inside brackets: `PID-3[?4.1=A-B].1`.
fn split_outside_brackets(text: &str, separator: char) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ if letter == separator && depth == 0 => {
                return Some((text.get(..at)?, text.get(at + 1..)?));
            }
            _ => {}
        }
    }
    None
}

/// `OBX[*]` to `OBX` and `*`.
fn split_bracket(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    match text.split_once('[') {
        None => Ok((text, None)),
        Some((name, rest)) => match rest.strip_suffix(']') {
            Some(inner) => Ok((name, Some(inner))),
            None => Err("a bracket is not closed"),
        },
    }
}

fn read_number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok()? } else { return None };
    (1..=NUMBER_MAX).contains(&number).then_some(number)
}

fn read_which(text: &str) -> Option<Which> {
    if text == "*" { Some(Which::Every) } else { read_number(text).map(Which::One) }
}

fn read_repetition(text: &str) -> Option<Repetition> {
    let Some(condition) = text.strip_prefix('?') else {
        return read_which(text).map(Repetition::Which);
    };
    let (place, text) = condition.split_once('=')?;
    let (component, subcomponent) = read_component(place)?;
    if text.is_empty() {
        return None;
    }
    let subcomponent = subcomponent.max(1);
    Some(Repetition::Where { component, subcomponent, text: text.into() })
}

/// `4` or `4.2`; the subcomponent is 0 where it is not said.
fn read_component(text: &str) -> Option<(u16, u16)> {
    match text.split_once('.') {
        None => Some((read_number(text)?, 0)),
        Some((component, subcomponent)) => {
            Some((read_number(component)?, read_number(subcomponent)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_path_is_refused_when_it_is_read() {
        for wrong in [
            "",
            "-3",
            "PID-",
            "PID-0",
            "PID-x",
            "PID-3.",
            "PID-3.0",
            "PID-3.1.2.3",
            "PID-3[0]",
            "PID-3[",
            "PID-3[?4.1]",
            "PID-3[?=X]",
            "PID-3[?4.1=]",
            "PID[?1=x]-3",
            "P D-1",
            "PID-1000",
            "PID-3 ",
            "PID-3[2]x.1",
        ] {
            assert!(Path::read(wrong).is_err(), "{wrong}");
        }
        for right in
            ["PID-3[2].4.2", "OBX[*]-5", "PID-3[?4.1=MRN].1", "OBX", "ZPD-1", "OBX[2]-5[*]"]
        {
            assert_eq!(Path::read(right).unwrap().to_string(), right);
        }
    }
}
